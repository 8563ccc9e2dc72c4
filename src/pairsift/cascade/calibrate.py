"""Set the thresholds of a cascade, from pairs that all its scorers have scored.

Each side of a stage (dropping pairs below `low`, keeping them from `high` on) may be wrong for a
small fraction of all pairs. That fraction is estimated from a sample. So a threshold is moved only
as far as an upper bound of the rate, not the count itself, stays within the allowed fraction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairsift.cascade.plan import Thresholds
from pairsift.errors import PairsiftError
from pairsift.intervals import binomial_bounds

Floats = NDArray[np.float64]

CAUTION = 0.8
"""Probability that a side's rate of wrong decisions stays within the allowed fraction."""
_POINTS = 40
_PAIRS_A_POINT = 25


@dataclass(frozen=True)
class Calibration:
    """The result of calibrating on a sample of n pairs.

    Attributes:
        thresholds: one per stage.
        threshold: of the full scorer's value, at the cut.
        settled: pairs of the sample that each stage decides.
        agreement: of the sample's own selection with that by full scoring; slightly too high,
            because the thresholds were fitted to this sample.
        pairs, kept: size of the sample, and its pairs above the cut by full scoring.
    """

    thresholds: tuple[Thresholds, ...]
    threshold: float
    settled: tuple[int, ...]
    agreement: float
    pairs: int
    kept: int

    @property
    def open(self) -> float:
        """Fraction of pairs that the full scorer must score."""
        return 1 - sum(self.settled) / self.pairs


def calibrate(
    values: Sequence[Floats],
    full: Floats,
    agreement: float,
    *,
    keep: float | None = None,
    at: float | None = None,
) -> Calibration:
    """Set the thresholds of a cascade's stages.

    Args:
        values: each stage's values of the n pairs, shape (n,), finite.
        full: the full scorer's value of each pair, shape (n,), finite.
        agreement: fraction of the selection that must be the same as by full scoring.
        keep, at: the cut, as in :class:`~pairsift.cascade.plan.Plan`.

    Raises:
        PairsiftError: the cut keeps all pairs or none.
    """
    count = len(full)
    threshold = _threshold(full, keep) if keep is not None else float(at or 0.0)
    kept = full >= threshold
    wanted = int(kept.sum())
    if not 0 < wanted < count:
        raise PairsiftError(
            f"of the {count:,} pairs that the cascade was to be planned on the cut keeps "
            f"{wanted:,}; choose another cut, or more pairs"
        )
    share = (1 - agreement) * wanted / count / len(values)
    limit = _most_wrong(share, count)
    thresholds, settled = [], []
    left = np.ones(count, dtype=bool)
    decided = kept.copy()  # as the cascade decides; undecided pairs get the full scorer's decision
    for value in values:
        low, high = _sides(value[left], kept[left], limit)
        own = Thresholds(low, high, *_median_curve(value[left], full[left]))
        taken, given_up = left & own.taken(value), left & own.given_up(value)
        decided = (decided | taken) & ~given_up
        settled.append(int(taken.sum() + given_up.sum()))
        left &= ~(taken | given_up)
        thresholds.append(own)
    common = int((decided & kept).sum())
    return Calibration(
        tuple(thresholds),
        threshold,
        tuple(settled),
        2 * common / (int(decided.sum()) + wanted),
        count,
        wanted,
    )


def _threshold(full: Floats, keep: float) -> float:
    best = round(keep * len(full))
    return float(np.sort(full)[::-1][max(0, best - 1)]) if best else math.inf


def _most_wrong(share: float, count: int) -> int:
    """Return the most wrong decisions in `count` that fit a rate within `share`; -1 for none."""
    # binomial_bounds splits 1 - confidence between its two ends.
    two_sided = 2 * CAUTION - 1
    wrong = -1
    while wrong + 1 < count and binomial_bounds(wrong + 1, count, two_sided)[1] <= share:
        wrong += 1
    return wrong


def _sides(value: Floats, kept: NDArray[np.bool_], limit: int) -> tuple[float | None, float | None]:
    """Return the lower and upper threshold, each with at most `limit` wrong decisions beyond it."""
    if limit < 0 or not len(value):
        return None, None
    low, high = _edge(value, kept, limit), _edge(-value, ~kept, limit)
    high = None if high is None else -high
    if (
        low is not None and high is not None and low > high
    ):  # the two sides meet, so no pair has to stay undecided
        low = high = (low + high) / 2
    return low, high


def _edge(value: Floats, wrong: NDArray[np.bool_], limit: int) -> float | None:
    """Return the point halfway to the pair that would be one wrong decision too many."""
    places = np.argsort(value)
    beyond = np.flatnonzero(np.cumsum(wrong[places]) > limit)
    if not len(beyond):
        return float(value.max())
    first = value[places[beyond[0]]]
    below = value[value < first]
    return float((first + below.max()) / 2) if len(below) else None


def _median_curve(value: Floats, full: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return points of a rising curve through the medians of neighbouring values."""
    places = np.argsort(value)
    groups = np.array_split(places, max(1, min(_POINTS, len(value) // _PAIRS_A_POINT)))
    middles = [float(np.median(value[group])) for group in groups if len(group)]
    medians = [float(np.median(full[group])) for group in groups if len(group)]
    return tuple(middles), tuple(_rising(medians))


def _rising(values: Sequence[float]) -> list[float]:
    """Return the closest non-decreasing sequence (least squares)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        size = 1
        while blocks and blocks[-1][0] > value:
            mean, members = blocks.pop()
            value = (mean * members + value * size) / (members + size)
            size += members
        blocks.append((value, size))
    return [mean for mean, size in blocks for _ in range(size)]
