"""The tower that `training/tower.py` tunes, with drawn weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pairsift.scorers.mlm.lite import Lite2
from pairsift.scorers.mlm.tiny.features import pool

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from tower import FROZEN, Tower


def test_it_sees_what_the_encoder_sees_and_learns_behind_the_frozen_blocks() -> None:
    torch.manual_seed(0)
    encoder = Lite2()
    tower = Tower(encoder, 384, 10)
    pixels = torch.randn(2, 3, 96, 96)
    pooled = tower.pooled(pixels)
    with torch.no_grad():
        torch.testing.assert_close(pooled, pool(encoder(pixels)[2]), rtol=1e-3, atol=1e-4)
    tower(pooled)[0].sum().backward()
    for number, block in enumerate(encoder.blocks):
        assert (block.project.weight.grad is not None) == (number >= FROZEN), number
