"""A fresh process for each scorer, so that its memory is measured alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from pairsift.engines.pool import kill_workers, leave_signals_to_parent
from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.bench import Bench, Loaded, Memory, Timing
from pairsift.evaluate.cost.subjects import Subject
from pairsift.pair import Pair

Result = TypeVar("Result")


class ScorerProcess:
    """Starts loading a scorer in a new process; `close` ends the process.

    Args:
        threads: number of PyTorch threads in that process.
        batch_size: None for the scorer's default.
    """

    def __init__(self, subject: Subject, threads: int, batch_size: int | None) -> None:
        self.subject = subject
        # Spawned, not forked: a fork would count this process's memory as its own.
        self._executor = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=leave_signals_to_parent
        )
        self._loading = self._executor.submit(_load, subject, threads, batch_size)

    def loaded(self) -> Loaded:
        """Wait until the scorer is ready.

        Raises:
            PairsiftError: it cannot be loaded, or its process ended.
        """
        return self._result(self._loading)

    def warm_up(self, pairs: Sequence[Pair]) -> int:
        """See :meth:`Bench.warm_up`."""
        return self._result(self._executor.submit(_warm_up, pairs))

    def time(self, pairs: Sequence[Pair]) -> Timing:
        """See :meth:`Bench.time`."""
        return self._result(self._executor.submit(_time, pairs))

    def memory(self) -> Memory:
        """See :meth:`Bench.memory`."""
        return self._result(self._executor.submit(_memory))

    def close(self) -> None:
        """End the process, even in the middle of a measurement."""
        kill_workers(self._executor)

    def _result(self, future: Future[Result]) -> Result:
        try:
            return future.result()
        except BrokenProcessPool:
            raise PairsiftError(
                f"the process of {self.subject.name} ended: all scorers that are compared have to "
                "fit into memory at once; measure fewer in a run"
            ) from None


_bench: Bench | None = None


def _load(subject: Subject, threads: int, batch_size: int | None) -> Loaded:
    global _bench
    _bench = Bench(subject, threads, batch_size)
    return _bench.loaded


def _here() -> Bench:
    assert _bench is not None, "nothing was loaded"
    return _bench


def _warm_up(pairs: Sequence[Pair]) -> int:
    return _here().warm_up(pairs)


def _time(pairs: Sequence[Pair]) -> Timing:
    return _here().time(pairs)


def _memory() -> Memory:
    return _here().memory()
