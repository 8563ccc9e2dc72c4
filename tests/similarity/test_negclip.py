"""negCLIPLoss is what brute force gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairsift.similarity.negclip import neg_clip_loss, of_batch
from tests.similarity.made import column, make, same, unit


@pytest.mark.slow
def test_neg_clip_loss_is_brute_force(tmp_path: Path) -> None:
    image, text = make(tmp_path / "s", 5000, 2)
    out = tmp_path / "n.parquet"
    neg_clip_loss(str(tmp_path / "s"), out, batch=10_000, rounds=2, temperature=0.05)
    ok = ~np.isnan(image).any(axis=1)
    cosines = image[ok] @ text[ok].T / 0.05
    expected = np.full(5000, np.nan)
    expected[ok] = 0.05 * (
        np.diag(cosines)
        - (np.log(np.exp(cosines).sum(axis=0)) + np.log(np.exp(cosines).sum(axis=1))) / 2
    )
    same(column(out, "neg_clip_loss"), expected)


def test_neg_clip_loss_in_batches_of_chunks(tmp_path: Path) -> None:
    image, _ = make(tmp_path / "s", 900, 3, tables=6)
    options: Any = {"batch": 100, "rounds": 3, "chunk": 250}
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        neg_clip_loss(str(tmp_path / "s"), tmp_path / name, seed=seed, **options)
        found.append(column(tmp_path / name, "neg_clip_loss"))
    assert np.array_equal(found[0], found[1], equal_nan=True)
    assert not np.array_equal(found[0], found[2], equal_nan=True)
    assert np.isnan(found[0]).sum() == np.isnan(image).any(axis=1).sum() == 6


def test_one_batch_by_hand() -> None:
    image = unit(np.array([[1.0, 0.0], [0.0, 1.0]]))
    text = unit(np.array([[1.0, 1.0], [0.0, 1.0]]))
    half = np.sqrt(0.5)
    rows = np.array([np.log(np.exp(half) + 1), np.log(np.exp(half) + np.e)])
    columns = np.array([np.log(2 * np.exp(half)), np.log(1 + np.e)])
    expected = np.array([half, 1.0]) - (rows + columns) / 2
    assert np.allclose(of_batch(image, text, 1.0), expected)
