"""The configuration beside the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from pairsift.errors import PairsiftError  # noqa: E402
from pairsift.scorers.mlm.tiny.config import TinyConfig  # noqa: E402
from pairsift.scorers.mlm.tiny.model import TinyModel  # noqa: E402
from tests.scorers.mlm.tiny.made import SMALL  # noqa: E402


def test_a_checkpoint_that_names_neither_side_nor_map_is_read_as_before(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "config.json", version="0.7")
    stored = json.loads((tmp_path / "config.json").read_text())
    for name in ("input_side", "tuned_behind", "said", "novelty"):
        del stored[name]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    config = TinyConfig.load(tmp_path / "config.json")
    assert (config.input_side, config.tuned_behind) == (260, 16)
    assert (config.said, config.novelty) == (0, False)
    assert TinyModel(config).meaning_end.blocks[0].depthwise.weight.shape[0] == 6 * 120


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"model_type": "llama"}', "unknown: llama"),
        ('{"model_type": "pairsift-tiny", "depth": 3, "more": 1}', r"unknown: \['depth', 'more'\]"),
        ("{", "config.json"),
        ("[]", "config.json"),
    ],
)
def test_another_configuration_is_told(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(PairsiftError, match=words):
        TinyConfig.load(tmp_path / "config.json")


def test_a_missing_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match=r"config\.json"):
        TinyConfig.load(tmp_path / "config.json")


def test_a_configuration_comes_back(tmp_path: Path) -> None:
    given = replace(SMALL, said=7, novelty=True)
    given.save(tmp_path / "config.json", version="0.9")
    assert TinyConfig.load(tmp_path / "config.json") == given
    assert json.loads((tmp_path / "config.json").read_text())["version"] == "0.9"


@pytest.mark.parametrize(("said", "novelty", "more"), [(0, False, 0), (0, True, 1), (64, True, 2)])
def test_rows_of_an_image_hold_what_is_told_of_it(said: int, novelty: bool, more: int) -> None:
    plain = SMALL.image_tokens + 3
    assert replace(SMALL, said=said, novelty=novelty).image_rows == plain + more
