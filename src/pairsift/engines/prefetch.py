"""Read, decode and prepare ahead of the device, in bounded memory and in input order.

A thread walks over the shards and hands chunks of pairs to worker processes (or prepares them
itself when there are none: decoders release the interpreter lock, so even a thread overlaps with
the model). It never runs more than a bounded number of chunks ahead, across shard boundaries, so
the device does not wait at the start of a shard either.
"""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared
from pairsift.sources import Shard, ShardReader, open_shard

CHUNK = 16
# Chunks in flight per worker: one being worked on, the others waiting on either side.
_AHEAD = 4

Prepare = Callable[[Pair], Prepared]


@dataclass(slots=True)
class _ShardEnd:
    problem: str | None
    error: BaseException | None = None


class Prefetcher:
    """Context manager around the thread and the worker processes.

    Args:
        prepare: the scorer's CPU half; must be picklable if there are workers.
        workers: processes; 0 prepares in the reading thread.
    """

    def __init__(self, prepare: Prepare, workers: int) -> None:
        self.prepare = prepare
        self.workers = workers
        self._pool = _Pool(prepare, workers) if workers else None
        self._queue: queue.Queue[Future[list[Prepared]] | _ShardEnd] = queue.Queue(
            maxsize=_AHEAD * max(1, workers)
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread is not None:
            while self._thread.is_alive():
                self._drain()
                self._thread.join(timeout=0.05)
        if self._pool is not None:
            self._pool.close()

    def shards(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, PreparedShard]]:
        """Yield each shard with its stream of prepared pairs; read one stream before the next."""
        self._thread = threading.Thread(
            target=self._read_all, args=(shards,), name="pairsift-reader", daemon=True
        )
        self._thread.start()
        for shard in shards:
            stream = PreparedShard(self._queue)
            yield shard, stream
            stream.exhaust()

    def _read_all(self, shards: Sequence[Shard]) -> None:
        for shard in shards:
            end = _ShardEnd(None)
            try:
                reader = open_shard(shard)
                for chunk in _chunks(reader):
                    if not self._put(self._submit(chunk)):
                        return
                end = _ShardEnd(reader.problem)
            except BaseException as error:  # handed to the consumer, which raises it
                end = _ShardEnd(None, error)
            if not self._put(end):
                return

    def _submit(self, chunk: list[Pair]) -> Future[list[Prepared]]:
        if self._pool is not None:
            return self._pool.submit(chunk)
        future: Future[list[Prepared]] = Future()
        future.set_result([self.prepare(pair) for pair in chunk])
        return future

    def _put(self, item: Future[list[Prepared]] | _ShardEnd) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _drain(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass


class PreparedShard:
    """Prepared pairs of one shard, in order; `problem` is known once they are all taken."""

    def __init__(self, source: queue.Queue[Future[list[Prepared]] | _ShardEnd]) -> None:
        self._source = source
        self._ended = False
        self.problem: str | None = None

    def __iter__(self) -> Iterator[Prepared]:
        while not self._ended:
            item = self._source.get()
            if isinstance(item, _ShardEnd):
                self._ended = True
                self.problem = item.problem
                if item.error is not None:
                    raise item.error
            else:
                yield from item.result()

    def exhaust(self) -> None:
        """Skip what was not taken."""
        for _ in self:
            pass


def _chunks(reader: ShardReader) -> Iterator[list[Pair]]:
    pairs: Iterable[Pair] = iter(reader)
    while chunk := list(itertools.islice(pairs, CHUNK)):
        yield chunk


class _Pool:
    """Worker processes that survive a pair which kills its worker (a decoder's segfault, say)."""

    def __init__(self, prepare: Prepare, workers: int) -> None:
        self._payload = pickle.dumps(prepare)
        self._workers = workers
        self._executor = self._start(workers)
        self._lock = threading.Lock()

    def _start(self, workers: int) -> ProcessPoolExecutor:
        # Not fork: the parent has threads and, with a GPU, a CUDA context.
        return ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("forkserver"),
            initializer=_load,
            initargs=(self._payload,),
        )

    def submit(self, chunk: list[Pair]) -> Future[list[Prepared]]:
        """Prepare a chunk; the future never fails because of a crashed worker."""
        outer: Future[list[Prepared]] = Future()

        def settle(inner: Future[list[Prepared]]) -> None:
            error = inner.exception()
            if error is None:
                outer.set_result(inner.result())
            elif isinstance(error, BrokenProcessPool):
                threading.Thread(target=self._rescue, args=(chunk, outer), daemon=True).start()
            else:
                outer.set_exception(error)

        try:
            with self._lock:
                inner = self._executor.submit(_prepare_chunk, chunk)
        except BrokenProcessPool:
            self._replace()
            self._rescue(chunk, outer)
            return outer
        inner.add_done_callback(settle)
        return outer

    def _replace(self) -> None:
        with self._lock:
            try:
                self._executor.submit(int).result()
            except BrokenProcessPool:
                self._executor.shutdown(wait=False)
                self._executor = self._start(self._workers)

    def _rescue(self, chunk: list[Pair], outer: Future[list[Prepared]]) -> None:
        """Prepare pair by pair, each in a process of its own, to find the one that kills."""
        try:
            self._replace()
            rows = []
            for pair in chunk:
                with self._start(1) as single:
                    try:
                        rows += single.submit(_prepare_chunk, [pair]).result()
                    except BrokenProcessPool:
                        row = Prepared(pair.shard, pair.key, pair.uid)
                        rows.append(
                            row.fail(Status.IMAGE_CORRUPT, "decoding it ended the worker process")
                        )
            outer.set_result(rows)
        except BaseException as error:
            outer.set_exception(error)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


_prepare: Prepare | None = None


def _load(payload: bytes) -> None:
    global _prepare
    _prepare = pickle.loads(payload)


def _prepare_chunk(chunk: list[Pair]) -> list[Prepared]:
    assert _prepare is not None, "the pool's initializer did not run"
    return [_prepare(pair) for pair in chunk]
