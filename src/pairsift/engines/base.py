"""The unit of work all engines share: score one shard and commit its table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

import pyarrow as pa

from pairsift import __version__
from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.scorers.base import Prepared, Scorer, Watch, score_prepared
from pairsift.scores import ScoreFolder
from pairsift.sources import Shard

FIRST_FAILURES = 5


@dataclass(slots=True)
class Tally:
    """Running counts of a run, and the guard against scoring broken data to the end.

    Args:
        max_failure_rate: share of failed samples above which the run stops.
        min_samples: how many samples must have been seen before it may.
    """

    max_failure_rate: float = 0.05
    min_samples: int = 1000
    statuses: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(self.statuses.values())

    @property
    def failures(self) -> int:
        return self.rows - self.statuses[Status.OK.value]

    def add(self, rows: Sequence[Prepared]) -> None:
        """Count rows whose status is final.

        Raises:
            PairsiftError: too many have failed.
        """
        for row in rows:
            self.statuses[row.status.value] += 1
            if row.status is not Status.OK and len(self.first_failures) < FIRST_FAILURES:
                self.first_failures.append(
                    f"{row.shard}/{row.key}: {row.status.value} ({row.error})"
                )
        if self.rows >= self.min_samples and self.failures > self.max_failure_rate * self.rows:
            counts = ", ".join(
                f"{count} {status}"
                for status, count in self.statuses.most_common()
                if status != Status.OK.value
            )
            raise PairsiftError(
                f"{self.failures} of the first {self.rows} samples failed, more than "
                f"--max-failure-rate {self.max_failure_rate:g} allows: {counts}; first: "
                f"{'; '.join(self.first_failures)}. Finished shards are kept: look at the data, or "
                "run again with a higher rate"
            )


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What is known of a shard once its table is committed."""

    name: str
    rows: int
    statuses: Mapping[str, int]
    seconds: float
    problem: str | None


class Listener(Protocol):
    """What a run tells while it goes on; a progress bar, a log, or nothing."""

    def started(self, shards: int, finished: int) -> None:
        """`shards` in this run's part, `finished` of them by earlier runs."""

    def rows(self, rows: Sequence[Prepared]) -> None:
        """Some samples of the current shard are scored, or failed."""

    def shard_done(self, result: ShardResult) -> None:
        """A shard's table is committed."""


class Silence:
    """A listener that says nothing."""

    def started(self, shards: int, finished: int) -> None: ...

    def rows(self, rows: Sequence[Prepared]) -> None: ...

    def shard_done(self, result: ShardResult) -> None: ...


class PreparedStream(Protocol):
    """Prepared rows of one shard; `problem` is valid after the last."""

    problem: str | None

    def __iter__(self) -> Iterator[Prepared]: ...


def score_shard(
    shard: Shard,
    rows: PreparedStream,
    scorer: Scorer,
    scores: ScoreFolder,
    batch_size: int,
    watch: Watch,
) -> ShardResult:
    """Score one shard and commit its table; the same function whatever the engine.

    Args:
        rows: the shard's prepared pairs, in order.
        watch: told every row once its status is final; may raise to stop the run.
    """
    begin = time.perf_counter()
    table = score_prepared(scorer, rows, batch_size, watch)
    statuses = _count_statuses(table)
    result = ShardResult(
        shard.name, table.num_rows, statuses, time.perf_counter() - begin, rows.problem
    )
    scores.commit(shard.name, table, _facts(shard, result))
    return result


def _count_statuses(table: pa.Table) -> dict[str, int]:
    counts = table["status"].value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counts}


def _facts(shard: Shard, result: ShardResult) -> dict[str, Any]:
    return {
        "source": shard.url,
        "source_kind": shard.kind,
        "source_size": shard.size,
        "source_options": dict(shard.options),
        "source_error": result.problem,
        "rows": result.rows,
        "statuses": dict(result.statuses),
        "seconds": round(result.seconds, 3),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pairsift_version": __version__,
    }
