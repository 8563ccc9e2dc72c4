"""Draw rows by weight, with a soft cap on repeats, exactly but not draw by draw.

Each draw takes a row with a probability in proportion to its weight, and then lowers that row's
weight by the factor exp(-penalty). This is the Soft Cap Sampling of FLYT (Shechter and Carmon,
"Filter Like You Test", arXiv 2503.08805) with batches of one row.

Each row has an independent clock. After k draws of row i, its next draw follows after an
exponential time with rate w_i * exp(-penalty * k). The next clock to ring is row i's with a
probability in proportion to its rate, independent of the past. So the first n rings of all rows are
the n draws, and one threshold of time decides how often each row is drawn. The random numbers of a
row come from a hash of seed, identity and k, so the result depends neither on the order of files
nor on threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pairsift.errors import PairsiftError

PENALTY = 0.15
_BINS = 1 << 16
_WIDEN = 2.0
_SAMPLE = 1_000_000
_DECAY = 500.0  # by how much the logarithm of a weight may fall; a float64 ends at 745
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""positions int64, identities uint64, weights float64 > 0"""
Scan = Callable[[], Iterable[Batch]]
"""Reads all rows that can be drawn; called once per pass."""


@dataclass(frozen=True, slots=True)
class Draws:
    """How many rows were drawn.

    Attributes:
        rows: number of draws, repeats included.
        distinct: number of rows that were drawn at least once.
        most: how often the most frequent row was drawn.
        until: the time of the last draw.
        tied: rings at exactly that time that are draws; rows of equal identity ring together.
    """

    rows: int
    distinct: int = 0
    most: int = 0
    until: float = 0.0
    tied: int = 0


class Sampler:
    """Draws `count` of the rows of a scan.

    Args:
        scan: reads the rows.
        count: number of draws.
        penalty: how much the logarithm of a row's weight falls with each draw; 0 draws with
            replacement, infinity without.
    """

    def __init__(self, scan: Scan, count: int, penalty: float) -> None:
        self._scan = scan
        self._count = count
        self._factor = math.exp(-penalty)
        self._penalty = penalty

    def draw(self) -> Draws:
        """Find the time of the last draw, and count the draws.

        Raises:
            PairsiftError: there are not enough rows to draw from, or too few for so many draws.
        """
        rows = sum(len(weights) for _, _, weights in self._scan())
        if self._count == 0:
            return Draws(0)
        if not rows or (self._factor == 0 and rows < self._count):
            raise PairsiftError(
                f"--sample {self._count}: only {rows:,} rows have a weight above 0"
                + (", and with --repeat-penalty inf each is drawn once at most" if rows else "")
            )
        if self._factor and self._penalty * self._count / rows > _DECAY:
            most = int(_DECAY * rows / self._penalty)
            raise PairsiftError(
                f"--sample {self._count}: with --repeat-penalty {self._penalty:g}, {rows:,} rows "
                f"cannot be drawn more than {most:,} times, because their weights become 0; ask "
                "for fewer, or give --repeat-penalty 0"
            )
        until, tied = self._last(self._guess(rows))
        found = Draws(self._count, until=until, tied=tied)
        distinct = most = 0
        for _, counts in self._counts(found):
            distinct += int(np.count_nonzero(counts))
            most = max(most, int(counts.max(initial=0)))
        return replace(found, distinct=distinct, most=most)

    def positions(self, draws: Draws) -> Iterator[np.ndarray]:
        """Yield positions of the drawn rows, each as often as drawn, in the order of the scan."""
        for positions, counts in self._counts(draws):
            if counts.any():
                yield np.repeat(positions, counts)

    def _counts(self, draws: Draws) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if not draws.rows:
            return
        tied = draws.tied
        for positions, identities, weights in self._scan():
            counts = np.zeros(len(positions), np.int64)
            for places, times in self._rings(identities, weights, draws.until):
                counts[places] += 1
                at_end = places[times == draws.until]
                counts[at_end[tied:]] -= 1
                tied -= min(tied, len(at_end))
            yield positions, counts

    def _rings(
        self, identities: np.ndarray, weights: np.ndarray, until: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the first, second, ... rings of all rows up to a time, as positions and times."""
        places = np.arange(len(identities))
        times = np.zeros(len(identities))
        rates = weights.astype(np.float64)
        ring = 0
        while len(places):
            # With a penalty of infinity the second ring is at infinity.
            with np.errstate(divide="ignore"):
                times = times - np.log(_uniform(identities[places], ring)) / rates
            here = times <= until
            places, times, rates = places[here], times[here], rates[here] * self._factor
            if len(places):
                yield places, times
            ring += 1

    def _guess(self, rows: int) -> float:
        """Return a time by which about `count` rings are expected, from a sample of the weights."""
        step = max(1, rows // _SAMPLE)
        sample = np.concatenate([weights[::step] for _, _, weights in self._scan()])
        scale = rows / len(sample)

        def expected(time: float) -> float:
            if self._factor == 0:
                return scale * float(-np.expm1(-sample * time).sum())
            if self._penalty == 0:
                return scale * float(sample.sum()) * time
            return scale * float(np.log1p(self._penalty * sample * time).sum()) / self._penalty

        low = high = self._count / (scale * float(sample.sum()))
        while expected(high) < self._count and high < low * 2.0**60:
            high *= 4
        while high > 1.1 * low:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if expected(middle) < self._count else (low, middle)
        return high

    def _last(self, guess: float) -> tuple[float, int]:
        """Return the exact time of the `count`-th ring, and how many rings at that time
        are draws.
        """
        low, high = guess / _WIDEN, guess * _WIDEN
        while True:
            edges = np.geomspace(low, high, _BINS + 1)
            bins = np.zeros(_BINS + 2, np.int64)
            for _, identities, weights in self._scan():
                for _, times in self._rings(identities, weights, high):
                    place = np.searchsorted(edges, times, side="left")
                    bins += np.bincount(place, minlength=_BINS + 2)[: _BINS + 2]
            reached = np.cumsum(bins)
            if reached[0] >= self._count:
                low, high = low / _WIDEN**6, low
            elif reached[_BINS] < self._count:
                low, high = high, high * _WIDEN**3
            else:
                break
        found = int(np.searchsorted(reached, self._count))
        before = int(reached[found - 1])
        begin, end = float(edges[found - 1]), float(edges[found])
        inside = np.concatenate(
            [
                times[(times > begin) & (times <= end)]
                for _, identities, weights in self._scan()
                for _, times in self._rings(identities, weights, end)
            ]
        )
        rank = self._count - before - 1
        until = np.partition(inside, rank)[rank]
        return float(until), rank + 1 - int(np.count_nonzero(inside < until))


def _uniform(identities: np.ndarray, ring: int) -> np.ndarray:
    """Return numbers above 0 and up to 1, by the finalizer of SplitMix64 (Steele et al., OOPSLA
    2014).
    """
    with np.errstate(over="ignore"):
        z = identities + _GOLDEN * np.uint64(ring + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53
