"""What a process needs to score shards into a folder; sent to the processes of all engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pairsift.engines.worker import ShardWorker
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import load_scorer
from pairsift.scores import ScoreFolder

# A shard is skipped if its scorer's process dies this often, because preemption is rarer.
MAX_STARTS = 10


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """Arguments of :func:`pairsift.load_scorer`, with which each process loads its scorer."""

    name: str = "pairsift-tiny"
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Scorer:
        """Load the scorer."""
        return load_scorer(self.name, **self.options)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a process needs to start; see :class:`pairsift.engines.worker.ShardWorker`."""

    scorer: ScorerSpec
    out: str
    root: str
    batch_size: int | None
    workers: int
    run_id: str
    source: Mapping[str, Any] | None = None

    def folder(self, scorer: Scorer) -> ScoreFolder:
        """Return the score folder.

        Raises:
            PairsiftError: it holds other scores.
        """
        return ScoreFolder(self.out, scorer.fingerprint, self.root, self.source)

    def worker(self, scorer: Scorer, scores: ScoreFolder) -> ShardWorker:
        """Return what scores shards with the scorer."""
        return ShardWorker(scorer, scores, self.batch_size, self.workers, self.run_id)


def deadly(starts: int) -> str:
    """Say why a shard is given up that ended its scorer's process."""
    return f"its scorer ended {starts} times, with the process, on this shard"
