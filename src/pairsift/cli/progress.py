"""A progress bar for scoring: rate, time left, failures. Silent where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pairsift.engines.base import ShardResult
from pairsift.pair import Status


class ScoreProgress:
    """A listener (see :class:`pairsift.engines.base.Listener`) that draws.

    How many pairs there are is known only as shards are finished: until the first is, the bar
    counts without an end, and then the mean shard stands for those to come.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.console = console
        self._bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("pairs"),
            TextColumn("{task.fields[rate]} pairs/s"),
            TextColumn("shard {task.fields[shards]}"),
            TextColumn("{task.fields[failures]} failed"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, rate="-", shards="-", failures=0)
        self._shards = self._finished = self._done = 0
        self._rows = self._done_rows = self._failures = 0

    def __enter__(self) -> ScoreProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def started(self, shards: int, finished: int) -> None:
        self._shards, self._finished = shards, finished
        if finished and self.console.is_terminal:
            self.console.print(f"{finished} of {shards} shards were finished before")
        self._update()

    def rows(self, statuses: Mapping[str, int]) -> None:
        rows = sum(statuses.values())
        self._rows += rows
        self._failures += rows - statuses.get(Status.OK.value, 0)
        self._update()

    def shard_done(self, result: ShardResult) -> None:
        self._done += 1
        self._done_rows += result.rows
        if result.problem:
            self.console.print(f"[yellow]{result.name}[/yellow]: {result.problem}")
        self._update()

    def _update(self) -> None:
        todo = self._shards - self._finished
        total = self._done_rows / self._done * todo if self._done else None
        seconds = self._bar.tasks[0].elapsed or 0.0
        self._bar.update(
            self._task,
            completed=self._rows,
            total=total and max(total, self._rows),
            rate=f"{self._rows / seconds:,.1f}" if seconds and self._rows else "-",
            shards=f"{self._finished + self._done}/{self._shards}",
            failures=self._failures,
        )
