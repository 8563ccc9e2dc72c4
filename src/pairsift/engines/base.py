"""What all engines share: the jobs of a run, what becomes of them, and who is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.scorers.base import Prepared
from pairsift.sources import Shard

FIRST_FAILURES = 5
# So many unreadable shards are borne before their share is looked at.
_MIN_UNREADABLE = 5


@dataclass(frozen=True, slots=True)
class Job:
    """One shard to score, or of a finished one (`retry`) the rows that may fare better now.

    Attributes:
        rescore: it has a table, but has changed since: score all of it again.
        noted: an earlier run left word that the shard is unreadable.
    """

    shard: Shard
    retry: bool = False
    rescore: bool = False
    noted: bool = False


Outcome = Literal["scored", "retried", "finished", "unreadable"]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard.

    Attributes:
        outcome: ``scored`` and ``retried``: its table is committed; ``finished``: somebody else
            committed it in the meantime; ``unreadable``: no row could be had, there is no table.
        rows: of the table, or of a retry: those that were scored again.
        statuses: how many of these rows have which status now.
        seconds: from the first row read to the commit.
        problem: what is wrong with the shard, in words.
    """

    name: str
    outcome: Outcome
    rows: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(slots=True)
class RunSummary:
    """What one run did.

    Attributes:
        shards: in this run's part of the shard list.
        skipped: of those, finished by earlier runs or by others.
        rows, statuses: samples of this run, and what became of them.
        seconds: wall time from the first read to the last commit.
        problems: what was wrong with shards that have a table, by shard name.
        unreadable: why shards have no table, by shard name.
    """

    out: str
    shards: int
    skipped: int
    rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def pairs_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def failures(self) -> int:
        return self.rows - self.statuses.get(Status.OK.value, 0)

    @property
    def scored(self) -> int:
        """Shards whose table this run committed."""
        return self.shards - self.skipped - len(self.unreadable)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self) | {"pairs_per_second": round(self.pairs_per_second, 2)}

    def add(self, result: ShardResult, seconds: float) -> None:
        """Take in a shard's result, `seconds` after the run began."""
        self.seconds = seconds
        if result.outcome == "finished":
            self.skipped += 1
        if result.outcome == "unreadable":
            self.unreadable[result.name] = result.problem or ""
            return
        self.rows += result.rows
        self.statuses = dict(Counter(self.statuses) + Counter(result.statuses))
        if result.problem:
            self.problems[result.name] = result.problem


@dataclass(slots=True)
class Guard:
    """Stops a run whose data is broken, rather than score it to the end.

    Args:
        max_failure_rate: share of failed samples, or of unreadable shards, above which it stops.
        min_samples: how many samples must have been seen before it may.
    """

    max_failure_rate: float = 0.05
    min_samples: int = 1000
    statuses: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    shards: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, news: News) -> None:
        """Count samples whose status is final.

        Raises:
            PairsiftError: too many have failed.
        """
        self.statuses.update(news.statuses)
        self.first_failures += news.failures[: FIRST_FAILURES - len(self.first_failures)]
        rows = self.statuses.total()
        failures = rows - self.statuses[Status.OK.value]
        if rows >= self.min_samples and failures > self.max_failure_rate * rows:
            counts = ", ".join(
                f"{count} {status}"
                for status, count in self.statuses.most_common()
                if status != Status.OK.value
            )
            raise PairsiftError(
                f"{failures} of the first {rows} samples failed, more than "
                f"--max-failure-rate {self.max_failure_rate:g} allows: {counts}; first: "
                f"{'; '.join(self.first_failures)}. Finished shards are kept: look at the data, or "
                "run again with a higher rate"
            )

    def add_shard(self, result: ShardResult) -> None:
        """Count a shard that is done with.

        Raises:
            PairsiftError: too many shards could not be read.
        """
        self.shards += 1
        if result.outcome != "unreadable":
            return
        self.unreadable.append(f"{result.name}: {result.problem}")
        count = len(self.unreadable)
        if count >= _MIN_UNREADABLE and count > self.max_failure_rate * self.shards:
            raise PairsiftError(
                f"{count} of the first {self.shards} shards could not be read, more than "
                f"--max-failure-rate {self.max_failure_rate:g} allows; first: "
                f"{self.unreadable[0]}. Finished shards are kept: look at the data and run again"
            )


@dataclass(frozen=True, slots=True)
class News:
    """Samples whose status has become final.

    Attributes:
        statuses: how many became what.
        failures: the first of those that failed, in words.
    """

    statuses: Mapping[str, int]
    failures: Sequence[str] = ()

    @classmethod
    def of(cls, rows: Sequence[Prepared]) -> News:
        """The news in some rows."""
        failed = (row for row in rows if row.status is not Status.OK)
        words = [
            f"{row.shard}/{row.key}: {row.status.value} ({row.error})"
            for row, _ in zip(failed, range(FIRST_FAILURES), strict=False)
        ]
        return cls(Counter(row.status.value for row in rows), words)


class Listener(Protocol):
    """What a run tells while it goes on; a progress bar, a log, or nothing."""

    def started(self, shards: int, finished: int) -> None:
        """`shards` in this run's part, `finished` of them by earlier runs."""

    def rows(self, statuses: Mapping[str, int]) -> None:
        """Samples are scored, or failed: how many with which status."""

    def shard_done(self, result: ShardResult) -> None:
        """A shard's table is committed, or there will be none."""


class Silence:
    """A listener that says nothing."""

    def started(self, shards: int, finished: int) -> None: ...

    def rows(self, statuses: Mapping[str, int]) -> None: ...

    def shard_done(self, result: ShardResult) -> None: ...


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
