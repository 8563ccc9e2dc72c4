"""The configuration beside the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    for name in ("input_side", "tuned_behind", "said", "said_pairs", "novelty", "known"):
        del stored[name]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    config = TinyConfig.load(tmp_path / "config.json")
    assert (config.input_side, config.tuned_behind) == (260, 16)
    assert (config.said, config.said_pairs, config.novelty, config.known) == (0, 0, False, 0)
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
    given = replace(SMALL, said=7, said_pairs=5, novelty=True, known=20)
    given.save(tmp_path / "config.json", version="0.9")
    assert TinyConfig.load(tmp_path / "config.json") == given
    assert json.loads((tmp_path / "config.json").read_text())["version"] == "0.9"


@pytest.mark.parametrize(
    ("told", "more"),
    [
        ({}, 0),
        ({"novelty": True}, 1),
        ({"said": 64, "novelty": True}, 2),
        ({"said": 62, "novelty": True, "known": 9}, 1),
        ({"said": 30, "said_pairs": 32, "novelty": True, "known": 9}, 1),
        ({"said": 30, "said_pairs": 33, "novelty": True, "known": 9}, 2),
    ],
)
def test_rows_of_an_image_hold_what_is_told_of_it(told: dict[str, Any], more: int) -> None:
    plain = SMALL.image_tokens + 3
    assert replace(SMALL, **told).image_rows == plain + more
