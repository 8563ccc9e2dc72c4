"""Thresholds: as far out as the sample warrants, and no further."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pairsift import PairsiftError
from pairsift.cascade.calibrate import calibrate


def _scores(count: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A cheap scorer's values, and the full one's, which is the cheap one's with noise."""
    rng = np.random.default_rng(seed)
    cheap = rng.uniform(0, 100, count)
    return cheap, cheap + rng.normal(0, noise, count)


def _wrong(cheap: np.ndarray, full: np.ndarray, found: object) -> tuple[float, float]:
    rule = found.thresholds[0]  # type: ignore[attr-defined]
    kept = full >= found.threshold  # type: ignore[attr-defined]
    return float((rule.given_up(cheap) & kept).mean()), float((rule.taken(cheap) & ~kept).mean())


def test_thresholds_decide_unseen_pairs_as_full_scoring_would() -> None:
    within = 0
    for seed in range(40):
        found = calibrate([_scores(2000, 8, seed)[0]], _scores(2000, 8, seed)[1], 0.95, keep=0.3)
        assert 0.05 < found.open < 0.4
        worst = max(_wrong(*_scores(20_000, 8, seed + 1000), found))
        within += worst <= 0.05 * 0.3
    # Each side stays within its share in 80 % of all samples, or more where thresholds are coarse.
    assert within >= 26


def test_a_higher_agreement_leaves_more_pairs_to_the_full_scorer() -> None:
    cheap, full = _scores(3000, 10, 0)
    left = [calibrate([cheap], full, wanted, keep=0.3).open for wanted in (0.8, 0.9, 0.98, 0.999)]
    assert left == sorted(left)
    assert left[0] < 0.2
    assert left[-1] == 1.0  # 3,000 pairs cannot show that


def test_a_cheap_scorer_equal_to_the_full_one_decides_every_pair() -> None:
    full = np.random.default_rng(0).permutation(np.arange(2000.0))
    found = calibrate([full], full, 0.98, keep=0.3)
    assert found.open == 0.0
    assert found.agreement > 0.97
    assert found.thresholds[0].low == found.thresholds[0].high


def test_a_cheap_scorer_of_noise_decides_no_pair() -> None:
    rng = np.random.default_rng(0)
    found = calibrate([rng.random(2000)], rng.random(2000), 0.98, keep=0.3)
    assert found.open > 0.9


def test_each_stage_decides_pairs_that_earlier_stages_left() -> None:
    full = np.random.default_rng(3).uniform(0, 100, 4000)
    coarse, fine = np.round(full / 25), full + np.random.default_rng(4).normal(0, 2, 4000)
    found = calibrate([coarse, fine], full, 0.95, keep=0.3)
    assert found.settled[0] > 1000
    assert found.settled[1] > 500
    assert found.open == pytest.approx(1 - sum(found.settled) / 4000)
    assert calibrate([fine], full, 0.95, keep=0.3).threshold == found.threshold


def test_estimates_rise_and_stay_on_their_side_of_the_cut() -> None:
    cheap, full = _scores(2000, 15, 2)
    found = calibrate([cheap], full, 0.9, at=60.0)
    rule = found.thresholds[0]
    assert all(low <= high for low, high in pairwise(rule.estimates))
    values = np.linspace(-20, 120, 500)
    estimates = rule.estimate(values, 60.0)
    assert (estimates[rule.given_up(values)] < 60).all()
    assert (estimates[rule.taken(values)] >= 60).all()
    outside = rule.given_up(cheap)
    assert abs(np.median(rule.estimate(cheap[outside], 60.0) - full[outside])) < 2


def test_a_cut_that_keeps_all_or_none_is_refused() -> None:
    with pytest.raises(PairsiftError, match="keeps 0; choose another cut"):
        calibrate([np.arange(100.0)], np.arange(100.0), 0.98, at=1000.0)
    with pytest.raises(PairsiftError, match="keeps 100"):
        calibrate([np.arange(100.0)], np.arange(100.0), 0.98, at=-1.0)
