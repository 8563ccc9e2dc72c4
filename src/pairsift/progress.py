"""How far long work is: what it reports, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Listener(Protocol):
    """Receives the progress of long work, for a progress bar or a log.

    What it raises stops the work.
    """

    def message(self, text: str) -> None:
        """Something to know: a part of the work begins, or a file is damaged."""

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
        """Some of a task is done.

        Args:
            task: its name; several tasks may be at work.
            done, total: in units; a total of None is not known.
            unit: what is counted, in the plural.
            detail: what else there is to report.
            estimated: whether `total` is an estimate.
        """


class NullListener:
    """Ignores everything; and the base of listeners that need only one method."""

    def message(self, text: str) -> None: ...

    def progress(
        self,
        task: str,
        done: int,
        total: int | None,
        *,
        unit: str = "",
        detail: str = "",
        estimated: bool = False,
    ) -> None: ...


class MessageListener(NullListener):
    """Passes messages to a function, such as ``print``, and ignores progress."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def message(self, text: str) -> None:
        self._write(text)
