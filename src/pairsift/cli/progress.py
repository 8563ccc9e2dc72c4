"""How far a long command is: bars on a terminal, elsewhere a line a minute on stderr."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from pairsift.printable import one_line
from pairsift.printable import printable as safe

if TYPE_CHECKING:
    from pairsift.engines.base import ShardResult

EVERY_S = 60.0

Self = TypeVar("Self", bound="Progress")


@dataclass(slots=True)
class _Task:
    done: int = 0
    total: int | None = None
    unit: str = ""
    words: str = ""
    about: str = ""
    begin: float = 0.0

    def line(self, now: float) -> str:
        """Done, rate, time left, and what else is known."""
        from pairsift.status import duration

        unit = f" {self.unit}" if self.unit else ""
        of_all = f" of {self.about}{self.total:,}" if self.total is not None else ""
        parts = [f"{self.done:,}{of_all}{unit}"]
        seconds = now - self.begin
        if self.done and seconds > 0:
            rate = self.done / seconds
            parts.append(f"{rate:,.1f}{unit}/s")
            if self.total is not None and self.total > self.done:
                parts.append(f"{duration((self.total - self.done) / rate)} to go")
        return ", ".join(parts + ([self.words] if self.words else []))


class Progress:
    """Context manager that shows how far one or several named tasks are.

    Args:
        every: seconds between two lines where stderr is no terminal; `EVERY_S` if None.
    """

    def __init__(self, every: float | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[line]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._every = EVERY_S if every is None else every
        self._tasks: dict[str, _Task] = {}
        self._ids: dict[str, Any] = {}
        self._news: dict[str, None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="pairsift-progress", daemon=True)

    def __enter__(self: Self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._bars.stop()

    def say(self, words: str) -> None:
        """Print a line above the bars."""
        if self._console.is_terminal:
            self._console.print(safe(words), markup=False, highlight=False)
        else:
            typer.echo(safe(words), err=True)

    def show(
        self,
        name: str,
        done: int,
        total: int | None,
        words: str = "",
        unit: str = "",
        about: bool = False,
    ) -> None:
        """Set how far a task is.

        Args:
            total: None if it is not known.
            words: what else there is to tell.
            unit: of `done` and `total`, in the plural.
            about: whether `total` is an estimate.
        """
        now = time.monotonic()
        task = self._tasks.setdefault(name, _Task(begin=now))
        task.done, task.total, task.unit = done, total, unit
        task.words, task.about = one_line(words), "about " if about else ""
        self._news[name] = None
        if self._console.is_terminal:
            if name not in self._ids:
                self._ids[name] = self._bars.add_task(one_line(name), line="", total=total)
            self._bars.update(self._ids[name], completed=done, total=total, line=task.line(now))

    def _tell(self) -> None:
        while not self._ended.wait(self._every):
            news, self._news = self._news, {}
            for name in news or list(self._tasks)[-1:]:  # without news, where it stands still
                self.say(f"{one_line(name)}: {self._tasks[name].line(time.monotonic())}")


class ScoreProgress(Progress):
    """A listener (see :class:`pairsift.engines.base.Listener`) that shows.

    How many pairs there are is known only as shards are finished: until the first is, there is no
    total, and then the mean shard stands for those to come.
    """

    def __init__(self, every: float | None = None) -> None:
        super().__init__(every)
        self._shards = self._finished = self._done = 0
        self._done_rows = 0
        self._statuses: Counter[str] = Counter()

    def started(self, shards: int, finished: int) -> None:
        self._shards, self._finished = shards, finished
        if finished:
            self.say(f"{finished:,} of {shards:,} shards were finished before")
        self._update()

    def rows(self, statuses: Mapping[str, int]) -> None:
        self._statuses.update(statuses)
        self._update()

    def shard_done(self, result: ShardResult) -> None:
        self._done += 1
        self._done_rows += result.rows
        if result.problem:
            self.say(one_line(f"{result.name}: {result.problem}"))
        self._update()

    def _update(self) -> None:
        from pairsift.engines.base import describe_statuses

        rows = self._statuses.total()
        todo = self._shards - self._finished
        total = round(self._done_rows / self._done * todo) if self._done_rows else None
        self.show(
            "scoring",
            rows,
            None if total is None else max(total, rows),
            f"shard {self._finished + self._done:,}/{self._shards:,}, "
            f"{describe_statuses(self._statuses)}",
            "pairs",
            about=self._done < todo,
        )
