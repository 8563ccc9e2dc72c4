"""The local engine: one process for the device, decode workers ahead of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pairsift.engines.base import Listener, ShardResult, Silence, Tally, score_shard
from pairsift.engines.prefetch import Prefetcher
from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.scorers.base import Prepared, Scorer
from pairsift.scores import ScoreFolder
from pairsift.sources import Shard, ShardSet


@dataclass(slots=True)
class RunSummary:
    """What one run did.

    Attributes:
        shards: in this run's part of the shard list.
        skipped: of those, finished by earlier runs.
        rows, statuses: samples of this run, and what became of them.
        seconds: wall time from the first read to the last commit.
        problems: what was wrong with whole shards, by shard name.
    """

    out: str
    shards: int
    skipped: int
    rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def pairs_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def failures(self) -> int:
        return self.rows - self.statuses.get(Status.OK.value, 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self) | {"pairs_per_second": round(self.pairs_per_second, 2)}

    def add(self, result: ShardResult) -> None:
        """Take in a committed shard."""
        self.rows += result.rows
        self.statuses = dict(Counter(self.statuses) + Counter(result.statuses))
        if result.problem:
            self.problems[result.name] = result.problem


def default_workers() -> int:
    """One process per core beside the one that drives the device; 0 where there is none to spare.

    With two cores and a model on the CPU, the reading thread does it all faster than a process
    that competes with the model for the cores.
    """
    return max(0, min(16, len(os.sched_getaffinity(0)) - 2))


def part_of(shards: tuple[Shard, ...], part: tuple[int, int] | None) -> tuple[Shard, ...]:
    """Every n-th shard beginning with the i-th, for `--part i/n` on machines that do not talk.

    Raises:
        PairsiftError: i is not in 1..n.
    """
    if part is None:
        return shards
    index, count = part
    if not 1 <= index <= count:
        raise PairsiftError(f"--part {index}/{count}: the first number must be in 1..{count}")
    return shards[index - 1 :: count]


def score_shards(
    shard_set: ShardSet,
    scorer: Scorer,
    out: str,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    max_failure_rate: float = 0.05,
    part: tuple[int, int] | None = None,
    listener: Listener | None = None,
) -> RunSummary:
    """Score every shard that has no table in `out` yet.

    Kill it at any moment and call it again: shards whose table is there are skipped, all others
    are scored from their beginning. Scores do not depend on `batch_size` or `workers`.

    Raises:
        PairsiftError: `out` holds scores made in another way, too many samples fail, a shard
            cannot be opened, or the disk is full. Tables already committed are whole and stay.
    """
    listener = listener or Silence()
    scores = ScoreFolder(out, scorer.fingerprint, shard_set.root)
    mine = part_of(shard_set.shards, part)
    finished = scores.finished()
    todo = [shard for shard in mine if shard.name not in finished]
    listener.started(len(mine), len(mine) - len(todo))
    summary = RunSummary(out, len(mine), len(mine) - len(todo))
    tally = Tally(max_failure_rate)

    def watch(rows: Sequence[Prepared]) -> None:
        tally.add(rows)
        listener.rows(rows)

    begin = time.perf_counter()
    processes = default_workers() if workers is None else workers
    with Prefetcher(scorer.preparer, processes) as prefetcher:
        for shard, rows in prefetcher.shards(todo):
            result = score_shard(
                shard, rows, scorer, scores, batch_size or scorer.batch_size, watch
            )
            summary.add(result)
            summary.seconds = time.perf_counter() - begin
            listener.shard_done(result)
    return summary
