"""NormSim is what brute force gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.select import select
from pairsift.similarity.normsim import normsim
from tests.similarity.made import column, make, same


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_normsim_is_brute_force(tmp_path: Path, norm: str) -> None:
    (image, _), (target, _) = make(tmp_path / "s", 5000, 0), make(tmp_path / "t", 700, 1)
    made = normsim(str(tmp_path / "s"), str(tmp_path / "t"), tmp_path / "n.parquet", norm=norm)
    ok = ~np.isnan(target).any(axis=1)
    products = np.abs(image @ target[ok].T)
    expected = np.sqrt((products**2).sum(axis=1)) if norm == "2" else products.max(axis=1)
    same(column(tmp_path / "n.parquet", "normsim"), expected)
    assert made.rows == 5000
    # A selection joins it with the scores.
    kept = select(
        str(tmp_path / "s"), joins=[f"ns={tmp_path}/n.parquet@shard"], top=0.1,
        by="clip_score + ns.normsim",
    )  # fmt: skip
    assert kept.kept == 499
