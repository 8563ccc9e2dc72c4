"""Score columns compared on the same resamples."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.evaluate.compare import compare_preferences, compare_ratings
from pairsift.evaluate.judgments import Preferences, Ratings
from pairsift.evaluate.statistics import CORRELATIONS, ImageBootstrap

pytest.importorskip("scipy")


def test_a_category_on_few_images_has_no_interval() -> None:
    rng = np.random.default_rng(3)
    images = [f"{i}.jpg" for i in range(40)] + [f"{i}.jpg" for i in range(5)] * 20
    categories = ["many"] * 40 + ["few"] * 100
    preferences = Preferences(images, ["a"] * 140, ["b"] * 140, np.ones(140), categories)
    columns = {("s", "x"): (rng.normal(0.5, 1, 140), np.zeros(140))}
    columns["s", "y"] = (rng.normal(0.2, 1, 140), np.zeros(140))
    found = compare_preferences(preferences, columns, ImageBootstrap(images, 100))
    texts = {name: estimate.text() for name, estimate in found[0].statistics.items()}
    assert texts["accuracy/few"].endswith(" [too few]")
    assert "," in texts["accuracy/many"]
    assert "," in texts["accuracy"]
    gap = found[1].difference
    assert gap is not None
    assert gap.ends is not None
    assert gap.ends[0] < gap.value < gap.ends[1]
    without = compare_preferences(preferences, columns, ImageBootstrap(images, 0))
    assert "[" not in without[0].statistics["accuracy/few"].text()


IMAGES = [f"{n}.jpg" for n in range(20)]
"""of judgments, one each"""


def _ratings() -> Ratings:
    return Ratings(IMAGES, ["c"] * 20, np.arange(20, dtype=float))


def test_a_judgment_without_a_score_is_left_out_for_that_column_only() -> None:
    half = np.where(np.arange(20) < 10, np.arange(20.0), np.nan)
    columns = {("a", "x"): np.arange(20.0), ("b", "x"): -half, ("b", "y"): np.full(20, np.nan)}
    found = compare_ratings(_ratings(), columns, "tau_b", ImageBootstrap(IMAGES, 0))
    assert [(column.label, column.n) for column in found] == [("a x", 20), ("b x", 10), ("b y", 0)]
    values = [column.statistics["tau_b"].value for column in found]
    assert values[:2] == [1.0, pytest.approx(-1.0)]
    assert np.isnan(values[2])
    assert list(found[0].statistics) == list(CORRELATIONS)


def test_every_column_is_compared_with_the_first() -> None:
    rng = np.random.default_rng(0)
    noisy = np.arange(20) + rng.normal(0, 6, 20)
    columns = {("a", "x"): noisy, ("b", "x"): noisy + rng.normal(0, 3, 20)}
    bootstrap = ImageBootstrap(IMAGES, 100)
    first, second = compare_ratings(_ratings(), columns, "spearman", bootstrap)
    assert first.difference is None
    assert second.difference is not None
    gap = second.statistics["spearman"].value - first.statistics["spearman"].value
    assert second.difference.value == pytest.approx(gap)
    assert second.difference.ends is not None
    assert second.difference.ends[0] < gap < second.difference.ends[1]
    # Without resamples there are values alone.
    _, plain = compare_ratings(_ratings(), columns, "spearman", ImageBootstrap(IMAGES, 0))
    assert plain.difference is not None
    assert (plain.difference.value, plain.difference.ends) == (pytest.approx(gap), None)
    assert not plain.difference.too_few


def test_preferences_count_ties_and_what_was_scored() -> None:
    first, second = np.array([3.0, 1, 2, np.nan]), np.array([1.0, 3, 2, 0])
    judged = Preferences(list("abcd"), ["x"] * 4, ["y"] * 4, np.array([1, 1, 0.5, 1]), ["all"] * 4)
    columns = {("s", "x"): (first, second)}
    (found,) = compare_preferences(judged, columns, ImageBootstrap(judged.images, 0))
    assert (found.n, found.ties) == (3, pytest.approx(1 / 3))
    assert {name: e.value for name, e in found.statistics.items()} == {
        "accuracy": pytest.approx(2 / 3)
    }


def test_nothing_scored_is_no_number_and_no_error() -> None:
    nothing = np.full(2, np.nan)
    judged = Preferences(["a", "b"], ["x"] * 2, ["y"] * 2, np.ones(2), ["HC", "MM"])
    columns = {("s", "x"): (nothing, nothing)}
    (found,) = compare_preferences(judged, columns, ImageBootstrap(["a", "b"], 0))
    assert found.n == 0
    assert found.ties is not None
    assert all(np.isnan([found.ties, *(e.value for e in found.statistics.values())]))
    assert list(found.statistics) == ["accuracy", "accuracy/HC", "accuracy/MM"]
    assert compare_preferences(judged, {}, ImageBootstrap(["a", "b"], 0)) == []
