"""Compare score columns with judgments, on the same bootstrap resamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pairsift.evaluate.judgments import Preferences, Ratings
from pairsift.evaluate.results import ColumnResult, Estimate
from pairsift.evaluate.statistics import (
    ACCURACY,
    CORRELATIONS,
    Floats,
    ImageBootstrap,
    WeightedCorrelations,
    correlations,
    preference_credit,
    scale_of,
)

ColumnName = tuple[str, str]
"""A scorer and one of its columns."""


@dataclass(slots=True)
class _Measured:
    n: int
    values: dict[str, float]
    draws: dict[str, Floats]
    images: dict[str, int]
    ties: float | None = None


def compare_ratings(
    ratings: Ratings,
    columns: Mapping[ColumnName, Floats],
    headline: str,
    bootstrap: ImageBootstrap,
) -> list[ColumnResult]:
    """Correlate every column with the ratings.

    Args:
        columns: one score per judgment, shape (n,); NaN leaves that judgment out, for this column
            only.
    """
    measured = {}
    for name, scores in columns.items():
        has = np.isfinite(scores)
        weighted = WeightedCorrelations(scores[has], ratings.ratings[has])
        measured[name] = _Measured(
            int(has.sum()),
            correlations(scores[has], ratings.ratings[has]),
            bootstrap.draw(_on_rows(weighted, has)),
            dict.fromkeys(CORRELATIONS, bootstrap.count_images(has)),
        )
    return _results(measured, list(CORRELATIONS), headline, bootstrap)


def _on_rows(
    weighted: WeightedCorrelations, has: np.ndarray
) -> Callable[[Floats], dict[str, float]]:
    return lambda weights: weighted(weights[has])


def compare_preferences(
    preferences: Preferences,
    columns: Mapping[ColumnName, tuple[Floats, Floats]],
    bootstrap: ImageBootstrap,
) -> list[ColumnResult]:
    """Measure the accuracy of every column, overall and per category.

    Args:
        columns: scores of the first and of the second caption, shape (n,) each.
    """
    names = sorted(set(preferences.categories))
    of = np.array([names.index(category) for category in preferences.categories], np.intp)
    measured = {}
    for name, (first, second) in columns.items():
        has = np.isfinite(first) & np.isfinite(second)
        credit = preference_credit(first[has], second[has], preferences.preferred[has])
        accuracy = _Accuracy(credit, of[has], names)
        measured[name] = _Measured(
            int(has.sum()),
            accuracy(np.ones(len(credit))),
            bootstrap.draw(accuracy.on_rows(has)),
            {ACCURACY: bootstrap.count_images(has)}
            | {
                f"{ACCURACY}/{category}": bootstrap.count_images(has & (of == number))
                for number, category in enumerate(names)
            },
            float(np.mean(first[has] == second[has])) if has.any() else float("nan"),
        )
    keys = [ACCURACY, *(f"{ACCURACY}/{name}" for name in names)] if len(names) > 1 else [ACCURACY]
    return _results(measured, keys, ACCURACY, bootstrap)


@dataclass(slots=True)
class _Accuracy:
    credit: Floats
    category: np.ndarray
    names: Sequence[str]

    def __call__(self, weights: Floats) -> dict[str, float]:
        count = len(self.names)
        earned = np.bincount(self.category, weights * self.credit, minlength=count)
        of = np.bincount(self.category, weights, minlength=count)
        with np.errstate(invalid="ignore"):
            shares = earned / of
            overall = earned.sum() / of.sum()
        each = {
            f"{ACCURACY}/{name}": float(share)
            for name, share in zip(self.names, shares, strict=True)
        }
        return {ACCURACY: float(overall), **each}

    def on_rows(self, has: np.ndarray) -> Callable[[Floats], dict[str, float]]:
        return lambda weights: self(weights[has])


def _results(
    measured: Mapping[ColumnName, _Measured],
    statistics: Sequence[str],
    headline: str,
    bootstrap: ImageBootstrap,
) -> list[ColumnResult]:
    results = []
    first = next(iter(measured.values()), None)
    for (scorer, column), found in measured.items():
        estimates = {
            name: _estimate(
                bootstrap,
                found.values[name],
                found.draws.get(name),
                found.images[name],
                scale_of(name),
            )
            for name in statistics
        }
        difference = None
        if first is not None and found is not first:
            gaps = None
            if headline in found.draws and headline in first.draws:
                gaps = found.draws[headline] - first.draws[headline]
            images = min(found.images[headline], first.images[headline])
            gap = found.values[headline] - first.values[headline]
            difference = _estimate(bootstrap, gap, gaps, images)
        results.append(ColumnResult(scorer, column, found.n, estimates, difference, found.ties))
    return results


def _estimate(
    bootstrap: ImageBootstrap,
    value: float,
    draws: Floats | None,
    images: int,
    scale: tuple[float, float] | None = None,
) -> Estimate:
    """Return the value with its interval, or marked as too few data; without resamples, neither."""
    if draws is None:
        return Estimate(value)
    interval = bootstrap.interval(value, draws, images, scale)
    return Estimate(value, interval, too_few=interval is None)
