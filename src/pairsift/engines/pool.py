"""Worker processes that prepare pairs, and survive a pair that kills or hangs its worker."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared

Prepare = Callable[[Pair], Prepared]

# A chunk takes a second at worst. An overloaded machine may take many times that.
TIME_LIMIT_S = 120.0
# To import what a worker needs, once.
_START_LIMIT_S = 300.0
_MANAGER_S = 5.0


class PreparerPool:
    """A process pool around the CPU half of a scorer.

    Chunks are collected in the order in which they were submitted. If the oldest chunk does not
    come back, its pairs are prepared one at a time in a process of their own, so that only the
    pair that ends or hangs its worker fails; the chunks behind it go to new workers.

    Args:
        prepare: picklable.
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
        # By age. Weak: a run that is given up drops its chunks, and nobody waits for them.
        self._waiting: weakref.WeakValueDictionary[int, PreparedChunk] = (
            weakref.WeakValueDictionary()
        )
        self._executor = self._start(workers)

    def submit(self, pairs: Sequence[Pair]) -> PreparedChunk:
        """Begin to prepare a chunk."""
        with self._lock:
            chunk = PreparedChunk(self, next(self._numbers), pairs, self._submit(pairs))
            self._waiting[chunk.number] = chunk
            return chunk

    def collect(self, chunk: PreparedChunk) -> list[Prepared]:
        """Rows of the oldest chunk, whatever becomes of its worker.

        Raises:
            PairsiftError: worker processes cannot be started at all.
        """
        self._waiting.pop(chunk.number, None)
        try:
            return chunk.future.result(self._time_limit)
        except (BrokenProcessPool, CancelledError, FutureTimeoutError):
            self._restart()
        except Exception:  # rows that cannot be sent back; the workers are well
            pass
        return self._one_by_one(chunk.pairs)

    def _submit(self, pairs: Sequence[Pair]) -> Future[list[Prepared]]:
        try:
            return self._executor.submit(_prepare_chunk, pairs)
        except Exception as error:  # broken or breaking; collect() replaces it
            failed: Future[list[Prepared]] = Future()
            failed.set_exception(BrokenProcessPool(str(error)))
            return failed

    def _restart(self) -> None:
        """Replace the workers, and give the new ones what the old ones had not finished."""
        with self._lock:
            kill_workers(self._executor)
            self._executor = self._start(self._workers)
            for _, chunk in sorted(self._waiting.items()):
                if not _is_finished(chunk.future):
                    chunk.future = self._submit(chunk.pairs)

    def _one_by_one(self, pairs: Sequence[Pair]) -> list[Prepared]:
        rows: list[Prepared] = []
        executor: ProcessPoolExecutor | None = None
        try:
            for pair in pairs:
                executor = executor or self._start_one()
                try:
                    rows += executor.submit(_prepare_chunk, [pair]).result(self._time_limit)
                    continue
                except FutureTimeoutError:
                    why = f"preparing it took more than {self._time_limit:g} s"
                except (BrokenProcessPool, OSError):
                    why = "preparing it ended the worker process"
                except Exception as error:
                    why = f"what was prepared cannot be sent: {type(error).__name__}: {error}"
                kill_workers(executor)
                executor = None
                row = Prepared(pair.shard, pair.key, pair.uid)
                rows.append(row.fail(Status.MODEL_ERROR, why))
        finally:
            if executor is not None:
                kill_workers(executor)
        return rows

    def _start_one(self) -> ProcessPoolExecutor:
        """A worker that is known to have started; so whatever ends it later is the pair."""
        executor = self._start(1)
        try:
            executor.submit(_prepare_chunk, []).result(_START_LIMIT_S)
        except (BrokenProcessPool, FutureTimeoutError, OSError) as error:
            kill_workers(executor)
            raise PairsiftError(
                "a worker process that prepares pairs does not start; free some memory, or run "
                "with --workers 0"
            ) from error
        return executor

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
    """A chunk on its way through the pool.

    Attributes:
        number: chunks are collected in this order.
        future: of its rows; another one once the workers were replaced.
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
        """Wait for the rows; of a pair that ends its worker or hangs, the row is a failure."""
        return self._pool.collect(self)


def prepare_safely(prepare: Prepare, pair: Pair) -> Prepared:
    """The pair's row; a failure if `prepare` raises, as a scorer of somebody else's may."""
    try:
        return prepare(pair)
    except Exception as error:
        row = Prepared(pair.shard, pair.key, pair.uid)
        return row.fail(Status.MODEL_ERROR, f"{type(error).__name__}: {error}")


def _is_finished(future: Future[list[Prepared]]) -> bool:
    """Whether its rows are there, or an error that new workers would not cure."""
    if not future.done() or future.cancelled():
        return False
    return not isinstance(future.exception(), BrokenProcessPool)


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
    return [prepare_safely(_prepare, pair) for pair in pairs]
