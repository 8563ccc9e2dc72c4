"""Worker processes that prepare pairs, and survive a pair that kills or hangs its worker."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared

Prepare = Callable[[Pair], Prepared]

# A chunk takes a second at worst. A machine under water may take many times that.
TIME_LIMIT_S = 120.0
_MANAGER_S = 5.0


class PreparerPool:
    """A process pool around the CPU half of a scorer.

    Args:
        prepare: picklable.
        time_limit: seconds a chunk may take once it is waited for.
    """

    def __init__(self, prepare: Prepare, workers: int, time_limit: float = TIME_LIMIT_S) -> None:
        self._payload = pickle.dumps(prepare)
        transform = getattr(prepare, "transform", prepare)
        self._modules = [type(transform).__module__, getattr(transform, "__module__", "builtins")]
        self._workers = workers
        self._time_limit = time_limit
        self._lock = threading.Lock()
        self._executor = self._start(workers)

    def submit(self, pairs: Sequence[Pair]) -> PreparedChunk:
        """Begin to prepare a chunk."""
        with self._lock:
            try:
                return PreparedChunk(self, pairs, self._executor.submit(_prepare_chunk, pairs))
            except BrokenProcessPool:
                self._executor.shutdown(wait=False)
                self._executor = self._start(self._workers)
                return PreparedChunk(self, pairs, self._executor.submit(_prepare_chunk, pairs))

    def collect(self, pairs: Sequence[Pair], future: Future[list[Prepared]]) -> list[Prepared]:
        """Rows of a chunk, whatever becomes of its worker."""
        try:
            return future.result(self._time_limit)
        except BrokenProcessPool:
            return self._rescue(pairs)
        except FutureTimeoutError:
            with self._lock:
                kill_workers(self._executor)  # other chunks lose their workers too, and are rescued
            return self._rescue(pairs)

    def _rescue(self, pairs: Sequence[Pair]) -> list[Prepared]:
        """Prepare in a process of its own, ever smaller parts, to find the pair that kills."""
        executor = self._start(1)
        try:
            return executor.submit(_prepare_chunk, pairs).result(self._time_limit)
        except (BrokenProcessPool, FutureTimeoutError) as error:
            kill_workers(executor)
            if len(pairs) > 1:
                middle = len(pairs) // 2
                return self._rescue(pairs[:middle]) + self._rescue(pairs[middle:])
            what = (
                "ended the worker process"
                if isinstance(error, BrokenProcessPool)
                else f"took more than {self._time_limit:g} s"
            )
            row = Prepared(pairs[0].shard, pairs[0].key, pairs[0].uid)
            return [row.fail(Status.MODEL_ERROR, f"preparing it {what}")]
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the workers at once; nothing they hold is of use any more."""
        with self._lock:
            manager = getattr(self._executor, "_executor_manager_thread", None)
            kill_workers(self._executor)
            if manager is not None:  # the interpreter must not meet it half closed at its exit
                manager.join(_MANAGER_S)

    def _start(self, workers: int) -> ProcessPoolExecutor:
        # Not fork: the parent has threads and, with a GPU, a CUDA context. The server from which
        # workers are forked instead imports once what all of them need.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([Prepared.__module__, *self._modules])
        return ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_begin,
            initargs=(self._payload,),
        )


class PreparedChunk:
    """A chunk on its way through the pool."""

    def __init__(
        self, pool: PreparerPool, pairs: Sequence[Pair], future: Future[list[Prepared]]
    ) -> None:
        self._pool = pool
        self._pairs = pairs
        self._future = future

    def rows(self) -> list[Prepared]:
        """Wait for the rows; of a pair that ends its worker or hangs, the row is a failure."""
        return self._pool.collect(self._pairs, self._future)


def kill_workers(executor: ProcessPoolExecutor) -> None:
    """End a pool's processes at once, whatever they are at."""
    # Python 3.14 has kill_workers(); before, their handles are private.
    processes = list((getattr(executor, "_processes", None) or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with contextlib.suppress(Exception):
            process.kill()


_prepare: Prepare | None = None


def _begin(payload: bytes) -> None:
    """Set a worker process up."""
    global _prepare
    leave_signals_to_parent()
    _prepare = pickle.loads(payload)


def leave_signals_to_parent() -> None:
    """Outlive no parent, and leave it to the parent to stop a worker process."""
    # Ctrl-C and a batch system's SIGTERM reach the whole group; the parent decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=follow_parent, name="pairsift-parent", daemon=True).start()


def follow_parent() -> None:
    """End with the parent: idle workers of one that was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _prepare_chunk(pairs: Sequence[Pair]) -> list[Prepared]:
    assert _prepare is not None, "the pool's initializer did not run"
    return [_prepare(pair) for pair in pairs]
