"""Read and preprocess pairs ahead of the model, with bounded memory and in input order.

A thread reads the jobs and sends chunks of pairs to worker processes. Without workers it
preprocesses itself, still in parallel with the model, because decoders release the GIL. It is
ahead by a limited number of chunks of limited size, also across shards, so that the model does not
wait at the start of a shard.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

from pairsift.engines.base import Job
from pairsift.engines.pool import Prepare, PreparedChunk, PreparerPool, prepare_safely
from pairsift.engines.reading import Reader
from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.printable import one_line
from pairsift.scorers.base import Prepared

CHUNK = 16
# Encoded bytes at which a chunk ends, so that large images make short chunks.
CHUNK_BYTES = 8 * 2**20
# Chunks per worker: one is being preprocessed, the others wait before or after it.
AHEAD = 4
# Do not wait longer for a reader that hangs in a storage library; it is a daemon thread.
PATIENCE_S = 3.0
# For a pair that is prepared in the thread: more than workers have, since it ends the run.
TIME_LIMIT_S = 300.0
# How often to look at it.
_LOOK_S = 0.5

OpenJob = Callable[[Job, Callable[[float], object]], "Reader | None"]


@dataclass(slots=True)
class _Begin:
    reader: Reader | None


@dataclass(slots=True)
class _Ready:
    prepared: list[Prepared]

    def rows(self) -> list[Prepared]:
        return self.prepared


@dataclass(slots=True)
class _End:
    problem: str | None = None
    error: BaseException | None = None


# A job, then what there is of its shard; an end without a job is that of all jobs.
_Item = Job | _Begin | PreparedChunk | _Ready | _End


class Prefetcher:
    """Context manager around the thread and the worker processes.

    Args:
        prepare: the scorer's preprocess function; must be picklable if there are workers.
        workers: processes; 0 preprocesses in the reading thread.
    """

    def __init__(self, prepare: Prepare, workers: int) -> None:
        self.prepare = prepare
        self._pool = PreparerPool(prepare, workers) if workers else None
        self._ahead = AHEAD * max(1, workers)
        self._thread: _ReaderThread | None = None
        self._at: tuple[Pair, float] | None = None  # what the thread prepares, and since when

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._thread.stop()
        if self._pool is not None:
            self._pool.close()

    def jobs(
        self, jobs: Iterable[Job], open_job: OpenJob
    ) -> Generator[tuple[Job, PreparedShard], None, None]:
        """Yield each job with its stream of prepared pairs; read one stream before the next.

        Args:
            jobs: asked for the next one in the reading thread, once the last one is read.
            open_job: ``(job, wait) -> reader``, or None if there is nothing left to do for the
                job; called in the reading thread when its turn comes. `wait` sleeps.
        """
        thread = self._thread = _ReaderThread(jobs, open_job, self._submit, self._ahead)
        thread.start()
        try:
            while not isinstance(item := thread.queue.get(), _End):
                assert isinstance(item, Job)
                stream = PreparedShard(thread.queue, self._refuse_hanging)
                yield item, stream
                stream.exhaust()
            if item.error is not None:
                raise item.error
        finally:
            thread.stop()

    def _submit(self, pairs: list[Pair]) -> PreparedChunk | _Ready:
        if self._pool is not None:
            return self._pool.submit(pairs)
        return _Ready([self._prepare(pair) for pair in pairs])

    def _prepare(self, pair: Pair) -> Prepared:
        self._at = pair, time.monotonic()
        prepared = prepare_safely(self.prepare, pair)
        self._at = None
        return prepared

    def _refuse_hanging(self) -> None:
        """
        Raises:
            PairsiftError: the pair that the thread prepares takes longer than `TIME_LIMIT_S`, or
                the run has ended, so that nothing more will come.
        """
        if self._thread is not None and self._thread.stopped.is_set():
            raise PairsiftError("the run has ended")
        at = self._at
        if at is not None and time.monotonic() - at[1] > TIME_LIMIT_S:
            raise PairsiftError(
                f"preparing {one_line(f'{at[0].shard}/{at[0].key}')} takes more than "
                f"{TIME_LIMIT_S:g} s, and without worker processes it cannot be ended alone; "
                "run the same command again with --workers 1, which makes it one failed row. "
                "Finished shards are kept"
            )


class _ReaderThread(threading.Thread):
    def __init__(
        self,
        jobs: Iterable[Job],
        open_job: OpenJob,
        submit: Callable[[list[Pair]], PreparedChunk | _Ready],
        ahead: int,
    ) -> None:
        super().__init__(name="pairsift-reader", daemon=True)
        self.queue: queue.Queue[_Item] = queue.Queue(maxsize=ahead)
        self._jobs = jobs
        self._open_job = open_job
        self._submit = submit
        self.stopped = threading.Event()

    def run(self) -> None:
        end = _End()
        try:
            for job in self._jobs:
                if not (self._put(job) and self._read(job)):
                    return
        except BaseException as error:  # passed to the consumer, which raises it
            end = _End(error=error)
        self._put(end)

    def _read(self, job: Job) -> bool:
        """Put what there is of a shard; return whether to continue."""
        end = _End()
        try:
            reader = self._open_job(job, self.stopped.wait)
            if not self._put(_Begin(reader)):
                return False
            if reader is not None:
                for pairs in chunks(reader):
                    if not self._put(self._submit(pairs)):
                        return False
                end = _End(reader.problem)
        except BaseException as error:
            end = _End(error=error)
        return self._put(end)

    def _put(self, item: _Item) -> bool:
        while not self.stopped.is_set():
            try:
                self.queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def stop(self) -> None:
        self.stopped.set()
        self.join(PATIENCE_S)


class PreparedShard:
    """Preprocessed pairs of one shard, in order. `problem` is set after the last pair."""

    def __init__(self, source: queue.Queue[_Item], look: Callable[[], None]) -> None:
        self._source = source
        self._look = look
        self._ended = False
        self._begun = False
        self._reader: Reader | None = None
        self.problem: str | None = None

    @property
    def reader(self) -> Reader | None:
        """The reader of the shard; None if there was nothing left to do."""
        if not self._begun and not self._ended:
            self._take()
        return self._reader

    def __iter__(self) -> Iterator[Prepared]:
        while not self._ended:
            yield from self._take()

    def _take(self) -> list[Prepared]:
        item = self._next()
        if isinstance(item, _Begin):
            self._begun, self._reader = True, item.reader
        elif isinstance(item, _End):
            self._ended, self.problem = True, item.problem
            if item.error is not None:
                raise item.error
        elif not isinstance(item, Job):
            return item.rows()
        return []

    def _next(self) -> _Item:
        while True:
            try:
                return self._source.get(timeout=_LOOK_S)
            except queue.Empty:
                self._look()

    def exhaust(self) -> None:
        """Skip the remaining pairs."""
        for _ in self:
            pass


def chunks(reader: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Group pairs into chunks of at most `CHUNK` pairs and about `CHUNK_BYTES` bytes."""
    chunk: list[Pair] = []
    size = 0
    for pair in reader:
        chunk.append(pair)
        size += len(pair.image or b"") + len(pair.caption or "")
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
