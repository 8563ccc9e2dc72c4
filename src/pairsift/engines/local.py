"""The local engine: one process for the device, decode workers ahead of it."""

from __future__ import annotations

import os
import time
import uuid

from pairsift.engines.base import Guard, Listener, News, RunSummary, Silence
from pairsift.engines.plan import plan_run
from pairsift.engines.worker import ShardWorker
from pairsift.scorers.base import Scorer
from pairsift.scores import ScoreFolder, source_identity
from pairsift.sources import ShardSet

__all__ = ["RunSummary", "default_workers", "score_shards"]


def default_workers() -> int:
    """One process per core beside the one that drives the device; 0 where there is none to spare.

    With two cores and a model on the CPU, the reading thread does it all faster than a process
    that competes with the model for the cores.
    """
    return max(0, min(16, len(os.sched_getaffinity(0)) - 2))


def score_shards(
    shard_set: ShardSet,
    scorer: Scorer,
    out: str,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    max_failure_rate: float = 0.05,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    rescore_changed: bool = False,
    listener: Listener | None = None,
) -> RunSummary:
    """Score every shard that has no table in `out` yet.

    Kill it at any moment and call it again: shards whose table is there are skipped, all others
    are scored from their beginning. Scores do not depend on `batch_size` or `workers`.

    A shard that cannot be read, after some attempts, gets no table but a file that says why; the
    run goes on with the others, and the next run tries it again.

    Args:
        retry_failed: also score again those rows of finished tables whose status is retryable.
        rescore_changed: score shards again that have changed since they were scored; if not set,
            such shards are an error before anything is scored.

    Raises:
        PairsiftError: `out` holds scores made in another way, shards have changed since they were
            scored, too many samples fail or shards cannot be read, or the disk is full. Tables
            already committed are whole and stay.
    """
    listener = listener or Silence()
    scores = ScoreFolder(out, scorer.fingerprint, shard_set.root, source_identity(shard_set))
    plan = plan_run(shard_set, scores, part, retry_failed, rescore_changed)
    scores.claim()
    scores.expect(shard.name for shard in shard_set.shards)
    listener.started(plan.shards, plan.skipped)
    guard = Guard(max_failure_rate)
    summary = RunSummary(out, plan.shards, plan.skipped, first_failures=guard.first_failures)

    def tell(news: News) -> None:
        guard.add(news)
        listener.rows(news.statuses)

    begin = time.perf_counter()
    processes = default_workers() if workers is None else workers
    try:
        with ShardWorker(scorer, scores, batch_size, processes, uuid.uuid4().hex) as worker:
            for result in worker.run(plan.jobs, tell):
                summary.add(result, time.perf_counter() - begin)
                listener.shard_done(result)
                guard.add_shard(result)
    except BaseException:
        scores.release()
        raise
    return summary
