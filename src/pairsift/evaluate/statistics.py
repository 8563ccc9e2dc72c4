"""Agreement of scores with ratings: rank correlations, and accuracy of preferences.

SciPy computes the estimates. For the bootstrap, the same statistics are computed on *weighted* rows
from one table of counts (scores x ratings). This is exact and much faster than repeating rows; the
tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.intervals import binomial_bounds

Floats = NDArray[np.float64]

CORRELATIONS = {
    "tau_b": "Kendall tau-b",
    "tau_c": "Kendall tau-c (Stuart)",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
ACCURACY = "accuracy"


def chance_level(statistic: str) -> float:
    """Return the value that guessing gives: half of the preferences, or no correlation."""
    return 0.5 if statistic.startswith(ACCURACY) else 0.0


def scale_of(statistic: str) -> tuple[float, float]:
    """Return the lowest and highest possible value of a statistic."""
    return _SHARES if statistic.startswith(ACCURACY) else (-1.0, 1.0)


_SHARES = (0.0, 1.0)

FEWEST_IMAGES = 10
"""With fewer images no interval is given, because their variance cannot be estimated."""

# Fraction of the draws that may be undefined, for example because all ratings are equal.
_MOST_UNKNOWN = 0.05

# With a larger table of counts, sorting repeated rows is faster.
MAX_CELLS = 8_000_000


def correlations(scores: Floats, ratings: Floats) -> dict[str, float]:
    """Compute every statistic of :data:`CORRELATIONS` between scores and ratings, in -1..1.

    Args:
        scores, ratings: shape (n,), finite.

    Returns:
        NaN for all of them where a correlation has no meaning: fewer than two rows, or all
        scores or all ratings alike.
    """
    stats = _scipy_stats()
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(ratings) == 0:
        return dict.fromkeys(CORRELATIONS, float("nan"))
    return {
        "tau_b": float(stats.kendalltau(scores, ratings, variant="b").statistic),
        "tau_c": float(stats.kendalltau(scores, ratings, variant="c").statistic),
        "pearson": float(stats.pearsonr(scores, ratings).statistic),
        "spearman": float(stats.spearmanr(scores, ratings).statistic),
    }


def preference_credit(first: Floats, second: Floats, preferred: Floats) -> Floats:
    """Return how far scores agree with each preference, 0..1.

    Args:
        first, second: scores of the two captions, shape (n,).
        preferred: 1 where people prefer the first, 0 the second, 0.5 where their votes are tied.

    Returns:
        shape (n,): 1 agrees, 0 disagrees. A tie on either side counts one half, the mean of a
            random
        choice.
    """
    says = np.where(first > second, 1.0, np.where(first < second, 0.0, 0.5))
    return 1.0 - np.abs(says - preferred)


@dataclass(slots=True)
class WeightedCorrelations:
    """The four correlations of rows with whole-number weights.

    Equal to :func:`correlations` on rows repeated as often as their weight.
    """

    scores: Floats
    ratings: Floats
    _score_values: Floats = field(init=False)
    _rating_values: Floats = field(init=False)
    _cell: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        self._score_values, row = np.unique(self.scores, return_inverse=True)
        self._rating_values, column = np.unique(self.ratings, return_inverse=True)
        self._cell = row * len(self._rating_values) + column

    def __call__(self, weights: Floats) -> dict[str, float]:
        """Compute the statistics with `weights`, shape (n,), whole numbers >= 0."""
        shape = (len(self._score_values), len(self._rating_values))
        if shape[0] * shape[1] > MAX_CELLS:
            times = weights.astype(np.int64)
            return correlations(np.repeat(self.scores, times), np.repeat(self.ratings, times))
        cells = np.bincount(self._cell, weights, minlength=shape[0] * shape[1])
        counts = cells.astype(np.float64).reshape(shape)
        by_score, by_rating = counts.sum(1), counts.sum(0)
        total = float(by_score.sum())
        distinct = min(np.count_nonzero(by_score), np.count_nonzero(by_rating))
        if distinct < 2:
            return dict.fromkeys(CORRELATIONS, float("nan"))
        below = np.cumsum(counts, axis=0) - counts  # rows with a lower score, by rating
        lower = np.cumsum(below, axis=1) - below  # ... and a lower rating
        concordant = float((counts * lower).sum())
        higher = below.sum(1, keepdims=True) - lower - below
        surplus = concordant - float((counts * higher).sum())
        pairs = total * (total - 1) / 2
        score_ties = float((by_score * (by_score - 1)).sum()) / 2
        rating_ties = float((by_rating * (by_rating - 1)).sum()) / 2
        return {
            "tau_b": surplus / float(np.sqrt(pairs - score_ties) * np.sqrt(pairs - rating_ties)),
            "tau_c": 2 * surplus / (total**2 * (distinct - 1) / distinct),
            "pearson": _table_pearson(counts, self._score_values, self._rating_values),
            "spearman": _table_pearson(counts, _mean_ranks(by_score), _mean_ranks(by_rating)),
        }


def _mean_ranks(counts: Floats) -> Floats:
    """Return the shared rank of each group of tied rows, from the sizes of the groups."""
    return np.cumsum(counts) - counts / 2


def _table_pearson(counts: Floats, x: Floats, y: Floats) -> float:
    by_x, by_y = counts.sum(1), counts.sum(0)
    total = by_x.sum()
    x = x - (by_x @ x) / total
    y = y - (by_y @ y) / total
    return float((x @ counts @ y) / np.sqrt((by_x @ x**2) * (by_y @ y**2)))


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval with its estimate."""

    low: float
    high: float


class ImageBootstrap:
    """Resamples images instead of rows, because the judgments of one image are not independent.

    The resamples give the standard error, not the ends of the interval. A resample has some images
    twice, and so more pairs of rows from the same image than the judgments have. If captions are
    ordered better within an image than across images, all resamples are on one side of the
    estimate, and an interval of their percentiles would not contain it.

    Args:
        images: image name of every row; shape (n,).
        resamples: how many; 0 gives no intervals.
        seed: two instances with equal arguments draw the same images, so that differences
            between scorers are paired.
        confidence: of the intervals.
    """

    def __init__(
        self, images: list[str], resamples: int = 1000, seed: int = 0, confidence: float = 0.95
    ) -> None:
        self.resamples, self.seed, self.confidence = resamples, seed, confidence
        names, self._image_of_row = np.unique(np.asarray(images, dtype=object), return_inverse=True)
        self.images = len(names)

    def count_images(self, rows: NDArray[np.bool_]) -> int:
        """Count the images of the rows in a mask, shape (n,)."""
        return len(np.unique(self._image_of_row[rows]))

    def draw(self, statistics: Callable[[Floats], dict[str, float]]) -> dict[str, Floats]:
        """Compute `statistics(row weights)` on every resample; (resamples,) for each name."""
        rng = np.random.default_rng(self.seed)
        found: dict[str, list[float]] = {}
        for _ in range(self.resamples):
            times = np.bincount(rng.integers(self.images, size=self.images), minlength=self.images)
            for name, value in statistics(times[self._image_of_row].astype(np.float64)).items():
                found.setdefault(name, []).append(value)
        return {name: np.asarray(values) for name, values in found.items()}

    def interval(
        self,
        estimate: float,
        draws: Floats,
        images: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Interval | None:
        """Return Student's t interval around an estimate, with the standard error of its resamples.

        Args:
            images: number of images that the statistic has rows of, if not all.
            scale: lowest and highest value of the statistic. The interval is then computed on
                Fisher's z scale, so that it stays within these limits and is narrower towards the
                nearer one.

        Returns:
            None if there is no reliable interval: fewer than :data:`FEWEST_IMAGES` images,
                undefined
            resamples, a correlation of 1 or -1, or no variance. An accuracy of 0 or 1 gets the
            exact interval for that many images that all agree.
        """
        images = self.images if images is None else images
        known = draws[np.isfinite(draws)]
        if (
            images < FEWEST_IMAGES
            or not np.isfinite(estimate)
            or len(known) < max(2, (1 - _MOST_UNKNOWN) * len(draws))
        ):
            return None
        # Errors are taken around the estimate, not around the resamples' mean, so that bias counts
        # too.
        error = float(np.sqrt(np.mean((known - estimate) ** 2) * images / (images - 1)))
        if (
            scale == _SHARES and estimate in scale
        ):  # all images agree, so the exact binomial interval applies
            return Interval(*binomial_bounds(round(estimate * images), images, self.confidence))
        if not np.ptp(known) > 1e-12:
            return None
        t = float(_scipy_stats().t.ppf((1 + self.confidence) / 2, images - 1))
        if scale is None:
            return Interval(estimate - t * error, estimate + t * error)
        middle, reach = (scale[0] + scale[1]) / 2, (scale[1] - scale[0]) / 2
        place = (estimate - middle) / reach
        if not abs(place) < 1:
            return None
        half = t * error / reach / (1 - place**2)
        low, high = np.tanh(np.arctanh(place) + np.array([-half, half]))
        return Interval(float(middle + reach * low), float(middle + reach * high))


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise PairsiftError("correlations need SciPy: pip install 'pairsift[evaluate]'") from error
    return stats
