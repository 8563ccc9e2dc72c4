"""What all engines share: jobs, their results and the failure limit."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pairsift import moved
from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.printable import one_line
from pairsift.scorers.base import Prepared
from pairsift.sources import Shard

FIRST_FAILURES = 5
# The fraction of unreadable shards is only checked from this number on.
_MIN_UNREADABLE = 5


@dataclass(frozen=True, slots=True)
class Job:
    """One shard to score; with `retry`, only the rows of its table that may succeed now.

    Attributes:
        rescore: the shard has changed since its table was written; score all of it again.
        noted: an earlier run recorded that the shard is unreadable.
    """

    shard: Shard
    retry: bool = False
    rescore: bool = False
    noted: bool = False


Outcome = Literal["scored", "retried", "finished", "unreadable"]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The result of one shard.

    Attributes:
        outcome: ``scored`` and ``retried``: its table is committed; ``finished``: another process
            committed it meanwhile; ``unreadable``: it could not be read, there is no table.
        rows: number of rows in the table; of a retry, those that were scored again.
        statuses: number of these rows by status.
        seconds: from the first row read to the commit.
        problem: a sentence on what is wrong with the shard.
    """

    name: str
    outcome: Outcome
    rows: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(slots=True)
class RunSummary:
    """The result of one run.

    Attributes:
        shards: number of shards in this run's part.
        skipped: number of these that earlier runs or other processes had finished.
        rows, statuses: number of samples of this run, in total and by status.
        seconds: wall time from the first read to the last commit.
        problems: what was wrong with shards that have a table, by shard name.
        unreadable: why shards have no table, by shard name.
        first_failures: descriptions of the first samples that failed.
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
        """Number of samples that failed here, without those that the source marks as failed."""
        return _failed(self.statuses).total()

    @property
    def declared(self) -> int:
        """Number of samples that the source itself marks as failed."""
        return self.rows - self.failures - self.statuses.get(Status.OK.value, 0)

    @property
    def scored(self) -> int:
        """Shards whose table this run committed."""
        return self.shards - self.skipped - len(self.unreadable)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self) | {
            "failures": self.failures,
            "declared": self.declared,
            "pairs_per_second": round(self.pairs_per_second, 2),
        }

    def diagnosis(self) -> str | None:
        """One sentence on why no pair was scored; None if some were, or if none was tried.

        Samples that the source marks as failed are not tried.
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
        """Add the result of a shard, `seconds` after the start of the run."""
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
class FailureLimit:
    """Aborts a run in which too many samples fail.

    Samples that the source itself marks as failed do not count.

    Args:
        max_failure_rate: abort above this fraction of failed samples, or of unreadable shards.
        min_samples: number of samples from which the fraction of failed samples is checked.
    """

    max_failure_rate: float = 0.05
    min_samples: int = 1000
    statuses: Counter[str] = field(default_factory=Counter)
    first_failures: list[str] = field(default_factory=list)
    shards: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, update: StatusUpdate) -> None:
        """Count samples whose status is final.

        Raises:
            PairsiftError: too many have failed.
        """
        self.statuses.update(update.statuses)
        self.first_failures += update.failures[: FIRST_FAILURES - len(self.first_failures)]
        failed = _failed(self.statuses)
        failures = failed.total()
        rows = failures + self.statuses[Status.OK.value]
        if rows >= self.min_samples and failures > self.max_failure_rate * rows:
            raise PairsiftError(
                f"{failures} of the first {rows} samples failed, more than "
                f"--max-failure-rate {self.max_failure_rate:g} allows: {_counts(failed)}; first: "
                f"{'; '.join(self.first_failures)}. Finished shards are kept: check the data, or "
                "run "
                "again with a higher --max-failure-rate"
            )

    def add_shard(self, result: ShardResult) -> None:
        """Count a finished or unreadable shard.

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
                f"{self.unreadable[0]}. Finished shards are kept: check the data and run again"
            )


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Samples whose status has become final.

    Attributes:
        statuses: number of samples by status.
        failures: descriptions of the first failed samples.
    """

    statuses: Mapping[str, int]
    failures: Sequence[str] = ()

    @classmethod
    def of(cls, rows: Sequence[Prepared]) -> StatusUpdate:
        """Summarise some rows."""
        failed = (row for row in rows if row.status is not Status.OK and not row.status.declared)
        words = [
            one_line(f"{row.shard}/{row.key}: {row.status.value} ({row.error})")
            for row, _ in zip(failed, range(FIRST_FAILURES), strict=False)
        ]
        return cls(Counter(row.status.value for row in rows), words)


def describe_statuses(statuses: Mapping[str, int]) -> str:
    """Count failures by status; samples that the source marks as failed are counted apart."""
    failed = _failed(statuses)
    declared = sum(statuses.get(status.value, 0) for status in Status if status.declared)
    words = f"{failed.total():,} failed"
    if failed:
        words += f": {_counts(failed)}"
    return words + (f"; {declared:,} marked failed by the source" if declared else "")


def _failed(statuses: Mapping[str, int]) -> Counter[str]:
    """Keep only the statuses of samples that failed here."""
    return Counter(
        {
            status.value: statuses[status.value]
            for status in Status
            if status is not Status.OK and not status.declared and statuses.get(status.value)
        }
    )


def _counts(failed: Counter[str]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in failed.most_common())


def part_of(shards: tuple[Shard, ...], part: tuple[int, int] | None) -> tuple[Shard, ...]:
    """Return every n-th shard beginning with the i-th, for `--part i/n` on independent machines.

    Raises:
        PairsiftError: i is not in 1..n.
    """
    if part is None:
        return shards
    index, count = part
    if not 1 <= index <= count:
        raise PairsiftError(f"--part {index}/{count}: the first number must be in 1..{count}")
    return shards[index - 1 :: count]


__getattr__ = moved.renamed(
    __name__,
    {
        "Guard": "pairsift.engines.base.FailureLimit",
        "Listener": "pairsift.progress.Listener",
        "News": "pairsift.engines.base.StatusUpdate",
        "Silence": "pairsift.engines.progress.RunProgress",
    },
)
