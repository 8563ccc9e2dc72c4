"""The local engine: one process runs the model, worker processes preprocess for it."""

from __future__ import annotations

import time
import uuid

from pairsift.engines.base import FailureLimit, RunSummary, StatusUpdate
from pairsift.engines.devices import cores
from pairsift.engines.plan import plan_run
from pairsift.engines.progress import run_progress
from pairsift.engines.worker import ShardWorker
from pairsift.progress import Listener
from pairsift.scorers.base import Scorer
from pairsift.scores import ScoreFolder, source_identity
from pairsift.sources import ShardSet

__all__ = ["RunSummary", "default_workers", "score_shards"]


def default_workers(scorers: int = 1) -> int:
    """Return the number of worker processes for each scorer process of this machine.

    These are the cores minus two, divided among the scorers, at most 16.

    With two cores and a model on the CPU, a thread is faster than a process that competes with
    the model for the cores.
    """
    return max(0, min(16, (cores() - 2) // scorers))


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
    """Score every shard that has no score table in `out` yet.

    It may be killed at any moment and called again: shards that have a table are skipped, all
    others are scored from their beginning. Scores do not depend on `batch_size` or `workers`.

    A shard that cannot be read, after several attempts, gets no table but a file that says why.
    The run continues with the other shards; the next run tries that shard again.

    Args:
        shard_set: the shards.
        scorer: the scorer.
        out: score folder to write to, as a path or fsspec URL; made if it does not exist.
        batch_size: pairs per forward pass; None for the scorer's default.
        workers: processes that decode images; 0 decodes in a thread; None takes two less than
            there are cores, at most 16.
        max_failure_rate: stop when more than this fraction of samples fails, once 1,000 have been
            read; 0.05.
        part: (i, n) scores only every n-th shard, beginning with the i-th, counted from 1; None
            scores all.
        retry_failed: also score rows of finished tables again if their status is retryable.
        rescore_changed: score shards again that changed since they were scored; without it, such
            shards are an error before anything is scored.
        listener: receives the progress, see :class:`pairsift.progress.Listener`; None for nobody.

    Returns:
        how many shards and rows were scored, and their statuses.

    Raises:
        PairsiftError: `out` holds scores of another scorer or input, shards changed since they
            were scored, too many samples fail, too many shards cannot be read, or the disk is
            full. Tables that were written before stay and are whole.

    Examples:
        >>> from pairsift import load_scorer
        >>> from pairsift.sources import find_shards
        >>> scorer = load_scorer("heuristics")
        >>> summary = score_shards(find_shards("pool"), scorer, "new_scores", workers=0)
        >>> summary.shards, summary.rows, summary.statuses
        (1, 4, {'ok': 4})
        >>> score_shards(find_shards("pool"), scorer, "new_scores", workers=0).skipped
        1
    """
    progress = run_progress(listener)
    scores = ScoreFolder(out, scorer.fingerprint, shard_set.root, source_identity(shard_set))
    plan = plan_run(shard_set, scores, part, retry_failed, rescore_changed)
    scores.claim()
    scores.expect(shard.name for shard in shard_set.shards)
    progress.started(plan.shards, plan.skipped)
    limit = FailureLimit(max_failure_rate)
    summary = RunSummary(out, plan.shards, plan.skipped, first_failures=limit.first_failures)

    def tell(update: StatusUpdate) -> None:
        limit.add(update)
        progress.rows(update.statuses)

    begin = time.perf_counter()
    processes = default_workers() if workers is None else workers
    try:
        with ShardWorker(scorer, scores, batch_size, processes, uuid.uuid4().hex) as worker:
            for result in worker.run(plan.jobs, tell):
                summary.add(result, time.perf_counter() - begin)
                progress.shard_done(result)
                limit.add_shard(result)
    except BaseException:
        scores.release()
        raise
    return summary
