"""Statistics against definitions by brute force, SciPy, and published columns of numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from math import sqrt

import numpy as np
import pytest

from pairsift.evaluate.statistics import (
    CORRELATIONS,
    FEWEST_IMAGES,
    ImageBootstrap,
    WeightedCorrelations,
    correlations,
    preference_credit,
    scale_of,
)

pytest.importorskip("scipy")


def _brute_force(scores: np.ndarray, ratings: np.ndarray) -> tuple[float, float]:
    """Kendall's tau-b and Stuart's tau-c by counting pairs, straight from their definitions."""
    concordant = discordant = score_ties = rating_ties = pairs = 0
    for i, j in itertools.combinations(range(len(scores)), 2):
        pairs += 1
        order = np.sign(scores[i] - scores[j]) * np.sign(ratings[i] - ratings[j])
        concordant += order > 0
        discordant += order < 0
        score_ties += scores[i] == scores[j]
        rating_ties += ratings[i] == ratings[j]
    surplus = concordant - discordant
    levels = min(len(set(scores)), len(set(ratings)))
    n = len(scores)
    tau_b = surplus / sqrt((pairs - score_ties) * (pairs - rating_ties))
    return float(tau_b), float(2 * surplus * levels / (n**2 * (levels - 1)))


@pytest.mark.parametrize("score_levels", [3, 20, 10_000])
def test_kendall_equals_a_count_of_pairs_by_its_definition(score_levels: int) -> None:
    rng = np.random.default_rng(score_levels)
    ratings = rng.integers(1, 5, 80).astype(float)
    scores = np.round(ratings + rng.normal(0, 2, 80), 2) % score_levels
    found = correlations(scores, ratings)
    tau_b, tau_c = _brute_force(scores, ratings)
    assert found["tau_b"] == pytest.approx(tau_b)
    assert found["tau_c"] == pytest.approx(tau_c)


def test_a_hand_counted_case() -> None:
    # 2 concordant pairs, 1 discordant, 1 tie in the scores, 2 in the ratings.
    scores, ratings = np.array([1.0, 2, 2, 3]), np.array([1.0, 1, 2, 1])
    found = correlations(scores, ratings)
    surplus = 1 - 1
    assert found["tau_b"] == pytest.approx(surplus)
    scores, ratings = np.array([1.0, 2, 2, 3]), np.array([1.0, 1, 2, 2])
    found = correlations(scores, ratings)  # 3 concordant, none discordant
    assert found["tau_b"] == pytest.approx(3 / sqrt(5 * 4))
    assert found["tau_c"] == pytest.approx(2 * 3 / (16 * 1 / 2))


def test_an_undefined_correlation_is_nan() -> None:
    for scores, ratings in ([[1.0], [1.0]], [[1.0, 1, 1], [1.0, 2, 3]], [[1.0, 2], [3.0, 3]]):
        found = correlations(np.array(scores), np.array(ratings))
        assert set(found) == set(CORRELATIONS)
        assert all(np.isnan(value) for value in found.values())


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_weighted_rows_equal_repeated_rows(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    scores = rng.integers(0, levels, n).astype(float)
    ratings = rng.integers(0, 4, n).astype(float)
    weights = rng.integers(0, 4, n).astype(float)
    found = WeightedCorrelations(scores, ratings)(weights)
    times = weights.astype(int)
    expected = correlations(np.repeat(scores, times), np.repeat(ratings, times))
    for name in CORRELATIONS:
        assert found[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True)


def test_a_table_too_large_to_count_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, ratings = rng.normal(size=50), rng.normal(size=50)
    weights = rng.integers(0, 3, 50).astype(float)
    counted = WeightedCorrelations(scores, ratings)(weights)
    monkeypatch.setattr("pairsift.evaluate.statistics.MAX_CELLS", 1)
    assert WeightedCorrelations(scores, ratings)(weights) == pytest.approx(counted)


def test_credit_of_preferences() -> None:
    first, second = np.array([2.0, 1, 1, 2, 1]), np.array([1.0, 2, 1, 1, 1])
    preferred = np.array([1.0, 1, 1, 0.5, 0.5])
    assert preference_credit(first, second, preferred).tolist() == [1, 0, 0.5, 0.5, 1]


def test_the_bootstrap_resamples_images_with_all_their_rows() -> None:
    images = ["a", "a", "b", "c", "c", "c"]
    bootstrap = ImageBootstrap(images, resamples=50, seed=3)
    seen: list[np.ndarray] = []

    def total(weights: np.ndarray) -> dict[str, float]:
        seen.append(weights)
        return {"total": float(weights[[0, 2, 3]].sum())}

    draws = bootstrap.draw(total)["total"]
    assert (draws == 3).all()  # as many images as there are
    for weights in seen:
        assert weights[0] == weights[1]
        assert weights[3] == weights[4] == weights[5]
    assert len({tuple(weights) for weights in seen}) > 5
    again = ImageBootstrap(images, resamples=50, seed=3)
    before = list(seen)
    again.draw(total)
    assert np.array_equal(before, seen[50:])


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(10, 2, 400)
    bootstrap = ImageBootstrap([str(i) for i in range(400)], resamples=2000)
    draws = bootstrap.draw(lambda weights: {"mean": float(weights @ values / weights.sum())})
    interval = bootstrap.interval(values.mean(), draws["mean"])
    assert interval is not None
    half = 1.96 * values.std() / sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_without_resamples_there_is_no_interval() -> None:
    bootstrap = ImageBootstrap(["a", "b"], resamples=0)
    assert bootstrap.draw(lambda weights: {"x": 1.0}) == {}
    assert bootstrap.interval(1.0, np.array([np.nan])) is None


def _judged(rng: np.random.Generator, images: int, rows: int = 4) -> tuple[np.ndarray, ...]:
    """Images, scores and ratings: every image moves all scores of its captions."""
    image = np.repeat(np.arange(images), rows)
    quality = rng.normal(size=len(image))
    scores = quality + 0.3 * rng.normal(size=len(image)) + rng.normal(size=images)[image]
    ratings = np.digitize(quality + 0.3 * rng.normal(size=len(image)), [-1, -0.3, 0.3, 1])
    return image, np.round(scores, 1), ratings.astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("images", [20, 50, 200])
def test_intervals_contain_the_true_value_as_often_as_promised(images: int) -> None:
    repeats, rng = 300, np.random.default_rng([images, 1])
    truth = correlations(*_judged(np.random.default_rng(0), 20_000)[1:])
    preferred = 0.7  # share of right preferences; an image has them all more right, or less
    held: Counter[str] = Counter()
    for repeat in range(repeats):
        image, scores, ratings = _judged(rng, images)
        bootstrap = ImageBootstrap([str(name) for name in image], resamples=100, seed=repeat)
        draws = bootstrap.draw(WeightedCorrelations(scores, ratings))
        for name, estimate in correlations(scores, ratings).items():
            interval = bootstrap.interval(estimate, draws[name], scale=scale_of(name))
            assert interval is not None
            assert -1 <= interval.low < estimate < interval.high <= 1
            held[name] += interval.low <= truth[name] <= interval.high
        right = rng.random(len(image)) < rng.beta(7, 3, images)[image]
        share = float(right.mean())
        shares = bootstrap.draw(lambda w, right=right: {"x": float(w @ right / w.sum())})["x"]
        interval = bootstrap.interval(share, shares, scale=scale_of("accuracy"))
        assert interval is not None
        assert interval.low < share < interval.high
        held["accuracy"] += interval.low <= preferred <= interval.high
    assert set(held) == {*CORRELATIONS, "accuracy"}
    assert min(held.values()) >= 0.90 * repeats
    assert max(held.values()) <= 0.99 * repeats


@pytest.mark.parametrize("images", [10, 12, 25])
def test_an_interval_contains_its_estimate_even_if_no_resample_does(images: int) -> None:
    """Captions in order within each image, and images out of order: resamples have fewer of the
    pairs across images, and so a higher correlation than all judgments have."""
    ratings = np.tile(np.arange(10.0), images)
    image = np.repeat(np.arange(images), 10)
    scores = ratings + 7.0 * image
    bootstrap = ImageBootstrap([str(name) for name in image], resamples=200)
    draws = bootstrap.draw(WeightedCorrelations(scores, ratings))
    outside = 0
    for name, estimate in correlations(scores, ratings).items():
        outside += np.quantile(draws[name], 0.025) > estimate
        interval = bootstrap.interval(estimate, draws[name], scale=scale_of(name))
        assert interval is not None
        assert interval.low < estimate < interval.high
    assert outside >= 2  # percentiles left it out


def test_no_interval_is_given_where_none_is_reliable() -> None:
    ten = ImageBootstrap([str(i) for i in range(FEWEST_IMAGES)], resamples=100)
    draws = np.linspace(0.4, 0.6, 100)
    assert ten.interval(0.5, draws) is not None
    assert ten.interval(0.5, draws, images=FEWEST_IMAGES - 1) is None
    few = ImageBootstrap([str(i) for i in range(FEWEST_IMAGES - 1)] * 50, resamples=100)
    assert few.interval(0.5, draws) is None
    assert ten.interval(0.5, np.full(100, 0.5)) is None  # no spread
    assert ten.interval(float("nan"), draws) is None
    assert ten.interval(0.5, np.where(np.arange(100) < 10, np.nan, draws)) is None
    assert ten.interval(0.5, np.where(np.arange(100) < 5, np.nan, draws)) is not None
    assert ten.interval(1.0, draws, scale=(-1.0, 1.0)) is None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_accuracy_of_0_or_1_has_an_exact_interval(share: float) -> None:
    bootstrap = ImageBootstrap([str(i) for i in range(12)], resamples=100)
    interval = bootstrap.interval(share, np.full(100, share), scale=scale_of("accuracy"))
    assert interval is not None
    missing = 0.025 ** (1 / 12)  # Clopper-Pearson of 12 in 12
    low, high = (missing, 1.0) if share else (0.0, 1 - missing)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
