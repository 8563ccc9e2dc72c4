"""The configuration beside the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
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
