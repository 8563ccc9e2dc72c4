"""The cost of one scorer, computed from its measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pairsift.evaluate.cost.bench import Memory, Timing
from pairsift.evaluate.results import Estimate
from pairsift.evaluate.statistics import Interval


@dataclass(frozen=True)
class ScorerCost:
    """The cost of one scorer.

    Attributes:
        pairs: pairs per round.
        timings: one per round, in order.
        flops: FLOPs of matrix products per pair; 0 if this process computes none.
        peak: FLOP per second of this machine's matrix products in the same dtype; None if not
            measured.
        on_gpu: whether forward ran on a GPU.
        facts: fingerprint, batch size, seconds of loading.
    """

    name: str
    random_weights: bool
    pairs: int
    timings: Sequence[Timing]
    flops: float
    peak: float | None
    memory: Memory
    dtype: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return self.memory.device is not None

    @property
    def rate(self) -> Estimate:
        """Pairs per second, with preprocess and forward one after the other."""
        return spread(self.pairs / timing.total for timing in self.timings)

    @property
    def prepare_ms(self) -> Estimate:
        """Milliseconds to preprocess one pair on one core."""
        return spread(1e3 * timing.prepare / self.pairs for timing in self.timings)

    @property
    def score_ms(self) -> Estimate:
        """Milliseconds of forward for one pair."""
        return spread(1e3 * timing.score / self.pairs for timing in self.timings)

    @property
    def device_rate(self) -> float:
        """Pairs per second of one device at scale.

        On a GPU, preprocess runs on other cores, so only forward counts; on a CPU, both count.
        """
        return 1e3 / self.score_ms.value if self.on_gpu else self.rate.value

    @property
    def cores_to_feed(self) -> float | None:
        """CPU cores needed to preprocess pairs as fast as one GPU scores them; None on a CPU."""
        return self.prepare_ms.value / self.score_ms.value if self.on_gpu else None

    @property
    def of_peak(self) -> float | None:
        """FLOPs per second of forward, as a fraction of the machine's peak."""
        if not (self.peak and self.flops):
            return None
        return self.flops / (self.score_ms.value / 1e3) / self.peak

    def times(self, other: ScorerCost) -> Estimate:
        """Return how many times as fast as another scorer this one is, round by round."""
        return spread(
            theirs.total / mine.total
            for mine, theirs in zip(self.timings, other.timings, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "scorer": self.name,
            "random_weights": self.random_weights,
            "dtype": self.dtype,
            "pairs_per_second": self.rate.to_json(),
            "prepare_ms": self.prepare_ms.to_json(),
            "score_ms": self.score_ms.to_json(),
            "processor_ms": spread(1e3 * t.processor / self.pairs for t in self.timings).to_json(),
            "seconds_by_round": [asdict(timing) for timing in self.timings],
            "cores_to_feed": self.cores_to_feed,
            "gflop_per_pair": self.flops / 1e9,
            "fraction_of_peak": self.of_peak,
            "matmul_peak_gflops": self.peak and self.peak / 1e9,
            "peak_memory_mib": self.memory.process,
            "peak_device_memory_mib": self.memory.device,
            **self.facts,
        }


def spread(values: Iterable[float]) -> Estimate:
    """Return the median, the lowest and the highest value."""
    found = list(values)
    return Estimate(statistics.median(found), Interval(min(found), max(found)))
