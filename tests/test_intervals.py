"""Exact intervals of shares, against SciPy's."""

from __future__ import annotations

import pytest

from pairsift.intervals import binomial_bounds

COUNTS = [(0, 1), (1, 1), (0, 50), (50, 50), (1, 50), (25, 50), (49, 50), (382, 390), (7, 20_000)]


@pytest.mark.parametrize(("hits", "trials"), COUNTS)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_bounds_are_those_of_scipy(hits: int, trials: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(hits, trials).proportion_ci(confidence, "exact")
    assert binomial_bounds(hits, trials, confidence) == pytest.approx(tuple(expected), abs=1e-9)


@pytest.mark.parametrize(("hits", "trials"), COUNTS)
def test_hits_and_misses_mirror_each_other(hits: int, trials: int) -> None:
    low, high = binomial_bounds(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    assert binomial_bounds(trials - hits, trials) == pytest.approx((1 - high, 1 - low))
