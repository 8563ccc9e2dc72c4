"""What all engines share: the jobs of a run, what becomes of them, and who is told."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.printable import one_line
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
        first_failures: samples that failed, in words.
    """

    out: str
    shards: int
    skipped: int
    rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    first_failures: list[str] = field(default_factory=list)

    @property
    def pairs_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def failures(self) -> int:
        """Samples that failed here; those that the source marks as failed are not among them."""
        return _failed(self.statuses).total()

    @property
    def declared(self) -> int:
        """Samples that the source itself marks as failed."""
        return self.rows - self.failures - self.statuses.get(Status.OK.value, 0)

    @property
    def scored(self) -> int:
        """Shards whose table this run committed."""
        return self.shards - self.skipped - len(self.unreadable)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self) | {
            "failures": self.failures,
            "declared": self.declared,
            "pairs_per_second": round(self.pairs_per_second, 2),
        }

    def diagnosis(self) -> str | None:
        """Why a run that tried pairs scored none, in one sentence; None for any other run.

        Samples that the source marks as failed were not tried.
        """
        failed = _failed(self.statuses)
        if not failed or self.statuses.get(Status.OK.value):
            return None
        if len(failed) == 1:
            status = Status(next(iter(failed)))
            why = f"all {failed.total():,} failed with {status.value} ({status.meaning})"
        else:
            why = f"all {failed.total():,} failed: {_counts(failed)}"
        first = f"; first: {self.first_failures[0]}" if self.first_failures else ""
        return f"no pair was scored: {why}{first}"

    def failure_lines(self) -> list[str]:
        """The failures by reason, and the command that shows them; empty without failures."""
        bad = {name: n for name, n in self.statuses.items() if name != Status.OK.value and n}
        if not bad:
            return []
        lines = [
            f"{count:>12,}  {name}: {Status(name).meaning}"
            for name, count in sorted(bad.items(), key=lambda entry: -entry[1])
        ]
        return [*lines, f"to see them: pairsift status {shlex.quote(self.out)} --failures"]

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

    Samples that the source itself marks as failed are left out of account.

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
        failed = _failed(self.statuses)
        failures = failed.total()
        rows = failures + self.statuses[Status.OK.value]
        if rows >= self.min_samples and failures > self.max_failure_rate * rows:
            raise PairsiftError(
                f"{failures} of the first {rows} samples failed, more than "
                f"--max-failure-rate {self.max_failure_rate:g} allows: {_counts(failed)}; first: "
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
        failed = (row for row in rows if row.status is not Status.OK and not row.status.declared)
        words = [
            one_line(f"{row.shard}/{row.key}: {row.status.value} ({row.error})")
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


def describe_statuses(statuses: Mapping[str, int]) -> str:
    """Failures by reason in a few words; those that the source declares are told apart."""
    failed = _failed(statuses)
    declared = sum(statuses.get(status.value, 0) for status in Status if status.declared)
    words = f"{failed.total():,} failed"
    if failed:
        words += f": {_counts(failed)}"
    return words + (f"; {declared:,} marked failed by the source" if declared else "")


def _failed(statuses: Mapping[str, int]) -> Counter[str]:
    """Of the counts by status those of samples that failed here."""
    return Counter(
        {
            status.value: statuses[status.value]
            for status in Status
            if status is not Status.OK and not status.declared and statuses.get(status.value)
        }
    )


def _counts(failed: Counter[str]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in failed.most_common())


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
