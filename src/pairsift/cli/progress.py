"""Progress of a long command: bars on a terminal, otherwise a line per minute on stderr."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import typer

from pairsift.printable import one_line
from pairsift.printable import printable as safe

EVERY_S = 60.0

Self = TypeVar("Self", bound="ProgressDisplay")


@dataclass(slots=True)
class _Task:
    done: int = 0
    total: int | None = None
    unit: str = ""
    detail: str = ""
    about: str = ""
    begin: float = 0.0

    def line(self, now: float) -> str:
        """Return one line: amount done, rate, time left, and other facts."""
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
        return ", ".join(parts + ([self.detail] if self.detail else []))


class ProgressDisplay:
    """A listener that shows how far one or several tasks are; a context manager.

    Args:
        every: seconds between two lines if stderr is not a terminal; `EVERY_S` if None.
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
        self._changed: dict[str, None] = {}
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
        if self._console.is_terminal:
            self._bars.stop()

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        if self._console.is_terminal:
            self._console.print(safe(text), markup=False, highlight=False)
        else:
            typer.echo(safe(text), err=True)

    def progress(
        self,
        task: str,
        done: int,
        total: int | None,
        *,
        unit: str = "",
        detail: str = "",
        estimated: bool = False,
    ) -> None:
        """Set how far a task is."""
        now = time.monotonic()
        state = self._tasks.setdefault(task, _Task(begin=now))
        state.done, state.total, state.unit = done, total, unit
        state.detail, state.about = one_line(detail), "about " if estimated else ""
        self._changed[task] = None
        if self._console.is_terminal:
            if task not in self._ids:
                self._ids[task] = self._bars.add_task(one_line(task), line="", total=total)
            self._bars.update(self._ids[task], completed=done, total=total, line=state.line(now))

    def _tell(self) -> None:
        while not self._ended.wait(self._every):
            changed, self._changed = self._changed, {}
            for name in (
                changed or list(self._tasks)[-1:]
            ):  # if nothing has changed, repeat the last task
                self.message(f"{one_line(name)}: {self._tasks[name].line(time.monotonic())}")
