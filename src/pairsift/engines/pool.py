"""Worker processes that preprocess pairs; a pair may crash or hang without harm to others."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared

Prepare = Callable[[Pair], Prepared]

# A chunk takes at most about a second; an overloaded machine needs much longer.
TIME_LIMIT_S = 120.0
# Seconds for a worker's first imports.
_START_LIMIT_S = 300.0
_MANAGER_S = 5.0
_CRASHED = "preprocessing it crashed the worker process"


class PreparerPool:
    """A process pool that preprocesses pairs for a scorer.

    Chunks are collected in the order in which they were submitted. If a worker
    crashes or hangs on the oldest chunk, its pairs are preprocessed one at a time in a separate
    process, so that only the bad pair fails. The later chunks are given to new workers.

    Args:
        prepare: the preprocess function; picklable.
        time_limit: seconds that a chunk may take once it is waited for, and a single pair when it
            is prepared alone; `TIME_LIMIT_S` if None.
    """

    def __init__(self, prepare: Prepare, workers: int, time_limit: float | None = None) -> None:
        self._payload = pickle.dumps(prepare)
        transform = getattr(prepare, "transform", prepare)
        self._modules = [type(transform).__module__, getattr(transform, "__module__", "builtins")]
        self._workers = workers
        self._time_limit = TIME_LIMIT_S if time_limit is None else time_limit
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        # By age. Weak references, because an aborted run drops its chunks and nobody waits for
        # them.
        self.waiting: weakref.WeakValueDictionary[int, PreparedChunk] = (
            weakref.WeakValueDictionary()
        )
        self._executor = self._start(workers)

    def submit(self, pairs: Sequence[Pair]) -> PreparedChunk:
        """Start to preprocess a chunk."""
        with self._lock:
            chunk = PreparedChunk(self, next(self._numbers), pairs, self._submit(pairs))
            self.waiting[chunk.number] = chunk
            return chunk

    def collect(self, chunk: PreparedChunk) -> list[Prepared]:
        """Return the rows of the oldest chunk, even if its worker crashes.

        Raises:
            PairsiftError: worker processes cannot be started at all.
        """
        self.waiting.pop(chunk.number, None)
        try:
            return chunk.future.result(self._time_limit)
        except (BrokenProcessPool, CancelledError, FutureTimeoutError):
            self._restart()
        except Exception:  # the rows cannot be sent back; the workers are not broken
            pass
        return self._one_by_one(chunk.pairs)

    def _submit(self, pairs: Sequence[Pair]) -> Future[list[Prepared]]:
        try:
            return self._executor.submit(_prepare_chunk, pairs)
        except Exception as error:  # the pool is broken; collect() replaces it
            failed: Future[list[Prepared]] = Future()
            failed.set_exception(BrokenProcessPool(str(error)))
            return failed

    def _restart(self) -> None:
        """Start new workers and give them the unfinished chunks of the old ones."""
        with self._lock:
            kill_workers(self._executor)
            self._executor = self._start(self._workers)
            for _, chunk in sorted(self.waiting.items()):
                if not _is_finished(chunk.future):
                    chunk.future = self._submit(chunk.pairs)

    def _one_by_one(self, pairs: Sequence[Pair]) -> list[Prepared]:
        rows: list[Prepared] = []
        executor: ProcessPoolExecutor | None = None
        crashed: Pair | None = None
        left = deque(pairs)
        try:
            while left:
                pair = left[0]
                executor = executor or self._start_one()
                try:
                    rows += executor.submit(_prepare_chunk, [pair]).result(self._time_limit)
                    left.popleft()
                    continue
                except FutureTimeoutError:
                    why = f"preprocessing it took more than {self._time_limit:g} s"
                except (BrokenProcessPool, OSError):
                    why = _CRASHED
                except Exception as error:
                    why = f"the preprocessed pair cannot be sent: {type(error).__name__}: {error}"
                kill_workers(executor)
                executor = None
                if why == _CRASHED and crashed is not pair:
                    crashed = pair  # try again: the system may kill a worker, too
                    continue
                left.popleft()
                row = Prepared(pair.shard, pair.key, pair.uid)
                rows.append(row.fail(Status.MODEL_ERROR, why))
        finally:
            if executor is not None:
                kill_workers(executor)
        return rows

    def _start_one(self) -> ProcessPoolExecutor:
        """Start one worker and wait until it runs, so that a later crash is due to the pair."""
        executor = self._start(1)
        try:
            executor.submit(_prepare_chunk, []).result(_START_LIMIT_S)
        except (BrokenProcessPool, FutureTimeoutError, OSError) as error:
            kill_workers(executor)
            raise PairsiftError(
                "a worker process that preprocesses pairs does not start; free some memory, or run "
                "with --workers 0"
            ) from error
        return executor

    def close(self) -> None:
        """End the workers at once; their results are not needed any more."""
        with self._lock:
            manager = getattr(self._executor, "_executor_manager_thread", None)
            kill_workers(self._executor)
            if manager is not None:  # the interpreter must not find it half closed when it exits
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
    """A chunk that was submitted to the pool.

    Attributes:
        number: chunks are collected in this order.
        future: the future of its rows; replaced when the workers are replaced.
    """

    def __init__(
        self,
        pool: PreparerPool,
        number: int,
        pairs: Sequence[Pair],
        future: Future[list[Prepared]],
    ) -> None:
        self.number = number
        self.pairs = pairs
        self.future = future
        self._pool = pool

    def rows(self) -> list[Prepared]:
        """Wait for the rows. A pair that crashes or hangs its worker gets a failure as its row."""
        return self._pool.collect(self)


def prepare_safely(prepare: Prepare, pair: Pair) -> Prepared:
    """Return the pair's row; a failure if `prepare` raises, as a third-party scorer may."""
    try:
        return prepare(pair)
    except Exception as error:
        row = Prepared(pair.shard, pair.key, pair.uid)
        return row.fail(Status.MODEL_ERROR, f"{type(error).__name__}: {error}")


def _is_finished(future: Future[list[Prepared]]) -> bool:
    """Return whether a chunk has its rows, or an error that new workers would not fix."""
    if not future.done() or future.cancelled():
        return False
    return not isinstance(future.exception(), BrokenProcessPool)


def kill_workers(executor: ProcessPoolExecutor) -> None:
    """Kill the processes of a pool at once."""
    # Python 3.14 has kill_workers(); before, their handles are private.
    processes = list((getattr(executor, "_processes", None) or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with contextlib.suppress(Exception):
            process.kill()


_prepare: Prepare | None = None


def _begin(payload: bytes) -> None:
    """Set up a worker process."""
    global _prepare
    leave_signals_to_parent()
    _prepare = pickle.loads(payload)


def leave_signals_to_parent() -> None:
    """Ignore signals meant for the parent, and end when the parent ends."""
    # Ctrl-C and a batch system's SIGTERM reach the whole group; only the parent handles them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=follow_parent, name="pairsift-parent", daemon=True).start()


def follow_parent() -> None:
    """End when the parent is killed; otherwise idle workers would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _prepare_chunk(pairs: Sequence[Pair]) -> list[Prepared]:
    assert _prepare is not None, "the pool's initializer did not run"
    return [prepare_safely(_prepare, pair) for pair in pairs]
