"""Report the progress of a scoring run to a listener."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pairsift.engines.base import ShardResult, describe_statuses
from pairsift.printable import one_line
from pairsift.progress import Listener, NullListener


class RunProgress:
    """Summarises a scoring run for a listener.

    The number of pairs is unknown until shards are finished. Before the first one is finished there
    is no total; then the mean of the finished shards is used for the others.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener or NullListener()
        self._shards = self._finished = self._done = 0
        self._done_rows = 0
        self._statuses: Counter[str] = Counter()

    def started(self, shards: int, finished: int) -> None:
        """The run has `shards` shards; earlier runs have finished `finished` of them."""
        self._shards, self._finished = shards, finished
        if finished:
            self._listener.message(f"{finished:,} of {shards:,} shards were finished before")
        self._report()

    def rows(self, statuses: Mapping[str, int]) -> None:
        """Some samples are scored or have failed; called with their number by status."""
        self._statuses.update(statuses)
        self._report()

    def shard_done(self, result: ShardResult) -> None:
        """The table of a shard is committed, or the shard is unreadable."""
        self._done += 1
        self._done_rows += result.rows
        if result.problem:
            self._listener.message(one_line(f"{result.name}: {result.problem}"))
        self._report()

    def _report(self) -> None:
        rows = self._statuses.total()
        todo = self._shards - self._finished
        total = round(self._done_rows / self._done * todo) if self._done_rows else None
        self._listener.progress(
            "scoring",
            rows,
            None if total is None else max(total, rows),
            unit="pairs",
            detail=f"shard {self._finished + self._done:,}/{self._shards:,}, "
            f"{describe_statuses(self._statuses)}",
            estimated=self._done < todo,
        )


def run_progress(listener: Any) -> RunProgress:
    """Return a progress reporter for a listener; also for listeners with the old methods."""
    if not hasattr(listener, "shard_done"):
        return RunProgress(listener)
    warnings.warn(
        "a listener now has the methods of pairsift.progress.Listener; the next version removes "
        "support for `started`, `rows` and `shard_done`",
        DeprecationWarning,
        stacklevel=3,
    )
    old: RunProgress = listener
    return old
