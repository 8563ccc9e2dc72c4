"""The interface that receives the progress of long work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Listener(Protocol):
    """Receives the progress of long work, for a progress bar or a log.

    An error that it raises stops the work.

    Examples:
        >>> from pairsift import load_scorer
        >>> from pairsift.engines.local import score_shards
        >>> from pairsift.progress import NullListener
        >>> from pairsift.sources import find_shards
        >>> class Counter(NullListener):
        ...     def progress(self, task, done, total, **more):
        ...         self.last = f"{task}: {done} of {total}"
        >>> counter, scorer = Counter(), load_scorer("heuristics")
        >>> summary = score_shards(find_shards("pool"), scorer, "told_scores", listener=counter)
        >>> counter.last
        'scoring: 4 of 4'
    """

    def message(self, text: str) -> None:
        """A message: a part of the work begins, a file is damaged, or similar."""

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
        """A part of a task is done.

        Args:
            task: name of the task; several tasks may run at the same time.
            done, total: in units; None if the total is unknown.
            unit: what is counted, in the plural.
            detail: other facts to report.
            estimated: whether `total` is an estimate.
        """


class NullListener:
    """Does nothing; also a base class for listeners that need only one method."""

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
