"""Micro-batching: put pairs of all requests into common batches.

Everything but decoding and scoring happens in the event loop, so nothing here needs a lock:

    request ─ pair ─▶ decoders (processes or threads) ─▶ waiting ─▶ device thread ─▶ row
                      at most `ahead` pairs between here and there
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from pairsift.engines.pool import PreparerPool
from pairsift.images import ImageLimits
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared, Scorer
from pairsift.scorers.batches import score_prepared

Row = dict[str, Any]
Watch = Callable[[int, float], None]

_THREADS = 2  # threads that decode if there are no decode processes
_UNHEALTHY_BATCHES = 3


class QueueFullError(Exception):
    """The queue of the server is full.

    Attributes:
        retry_after: seconds after which there is probably room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


@dataclass(slots=True)
class _Waiting:
    row: Prepared
    answer: asyncio.Future[Row]


class Batcher:
    """One scorer that serves many requests.

    Args:
        batch_size: number of pairs in one forward pass; None for the scorer's default.
        max_wait: seconds that a batch that is not full waits for pairs that are being decoded. If
            none is being decoded, it does not wait.
        workers: number of decode processes; 0 decodes in threads.
        max_queue: maximum number of accepted pairs without an answer.
        limits: limits of images.
        time_limit: seconds that preprocessing a pair may take in a worker process.
        watch: called with the size and the seconds of every batch.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        batch_size: int | None = None,
        max_wait: float = 0.01,
        workers: int = 0,
        max_queue: int = 512,
        limits: ImageLimits | None = None,
        time_limit: float = 60.0,
        watch: Watch | None = None,
    ) -> None:
        self.scorer = scorer
        self.batch_size = batch_size or scorer.batch_size
        self.queued = 0
        self._max_wait, self._max_queue = max_wait, max_queue
        self._watch = watch
        self._prepare = scorer.preparer
        if limits is not None and hasattr(self._prepare, "limited"):
            self._prepare = self._prepare.limited(
                limits
            )  # the scorer's own preparer is not changed
        self._pool = PreparerPool(self._prepare, workers, time_limit) if workers else None
        self._decoders = ThreadPoolExecutor(workers or _THREADS, "pairsift-decode")
        self._device = ThreadPoolExecutor(1, "pairsift-device")
        # Preprocessed pixels are larger than images, so only as many as keep the device busy.
        self._ahead = asyncio.Semaphore(2 * self.batch_size + (workers or _THREADS))
        self._preparing = 0
        self._tasks: set[asyncio.Future[Prepared]] = (
            set()
        )  # the event loop holds only weak references
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed_batches = 0
        self._seconds_a_pair = 0.0

    def start(self) -> None:
        """Start the worker and the device thread; call it in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="pairsift-batches")

    async def stop(self) -> None:
        """Stop; requests that wait for a row are cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._waiting:
            self._waiting.popleft().answer.cancel()
        if self._pool is not None:
            self._pool.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)

    @property
    def trouble(self) -> str | None:
        """Why the server cannot score, or None if it can."""
        if self._task is None or self._task.done():
            return "the batcher is not running"
        if self._failed_batches >= _UNHEALTHY_BATCHES:
            return f"the scorer failed on every pair of the last {self._failed_batches} batches"
        return None

    @contextlib.contextmanager
    def admit(self, pairs: int) -> Iterator[None]:
        """Reserve places in the queue while the block runs.

        Raises:
            QueueFullError: there is no room for all of them.
        """
        if self.queued + pairs > self._max_queue:
            seconds = math.ceil(self.queued * self._seconds_a_pair)
            raise QueueFullError(min(max(seconds, 1), 60))
        self.queued += pairs
        try:
            yield
        finally:
            self.queued -= pairs

    async def score(self, source: AbstractAsyncContextManager[Pair]) -> Row:
        """Preprocess and score one pair.

        Args:
            source: a context that yields the pair. It is left when the image is decoded. If the
                request was cancelled, it is left when the thread that uses the bytes has ended,
                which may be after this call returns.

        Returns:
            its row of the score table. A pair that cannot be scored has a status other than ok.
        """
        preparing = asyncio.ensure_future(self._prepared(source))
        self._tasks.add(preparing)
        preparing.add_done_callback(self._tasks.discard)
        try:
            row = await asyncio.shield(preparing)
        except asyncio.CancelledError:
            preparing.add_done_callback(self._let_go)
            preparing.cancel()
            raise
        try:
            if row.status is not Status.OK:
                return _rows(self.scorer, [row], 1)[0]
            waiting = _Waiting(row, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            self._arrived.set()
            return await waiting.answer
        finally:
            self._ahead.release()

    async def _prepared(self, source: AbstractAsyncContextManager[Pair]) -> Prepared:
        """Return the preprocessed pair, with a reserved place before the device."""
        async with source as pair:
            await self._ahead.acquire()
            try:
                return await self._decoded(pair)
            except BaseException:
                self._ahead.release()
                raise

    def _let_go(self, preparing: asyncio.Future[Prepared]) -> None:
        """Free the place of a pair whose request was cancelled."""
        if not preparing.cancelled() and preparing.exception() is None:
            self._ahead.release()

    async def _decoded(self, pair: Pair) -> Prepared:
        self._preparing += 1
        try:
            return await _to_its_end(self._decoders.submit(self._prepare_now, pair))
        finally:
            self._preparing -= 1
            self._arrived.set()  # waiting tasks check again

    def _prepare_now(self, pair: Pair) -> Prepared:
        if self._pool is None:
            return self._prepare(pair)
        return self._pool.submit([pair]).rows()[0]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            if not batch:
                continue
            begin = time.perf_counter()
            prepared = [waiting.row for waiting in batch]
            rows = await loop.run_in_executor(self._device, self._score_safely, prepared)
            seconds = time.perf_counter() - begin
            self._note(rows, seconds)
            for waiting, row in zip(batch, rows, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(row)

    async def _next_batch(self) -> list[_Waiting]:
        """Return the waiting pairs, at most one batch, without those of cancelled requests."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._max_wait
        while len(self._waiting) < self.batch_size and self._preparing:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), end - loop.time())
            except asyncio.TimeoutError:
                break
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self.batch_size:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    def _score_safely(self, rows: list[Prepared]) -> list[Row]:
        try:
            return _rows(self.scorer, rows, self.batch_size)
        except Exception as error:  # errors that `score_prepared` does not handle: memory, Arrow
            words = f"{type(error).__name__}: {error}"
            failed = [row.fail(Status.MODEL_ERROR, words) for row in rows]
            return _rows(self.scorer, failed, len(failed))

    def _note(self, rows: Sequence[Row], seconds: float) -> None:
        worked = any(row["status"] == Status.OK.value for row in rows)
        self._failed_batches = 0 if worked else self._failed_batches + 1
        latest = seconds / len(rows)
        self._seconds_a_pair += 0.2 * (latest - self._seconds_a_pair)
        if self._watch is not None:
            self._watch(len(rows), seconds)


async def _to_its_end(work: Future[Prepared]) -> Prepared:
    """Wait for a thread to end, even if the request was cancelled.

    A thread cannot be stopped and holds the pair's bytes, so they count as used until it ends.
    """
    waiter = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        if not work.cancel():
            await asyncio.wait([waiter])
        raise


def _rows(scorer: Scorer, rows: Sequence[Prepared], batch_size: int) -> list[Row]:
    table: list[Row] = score_prepared(scorer, rows, batch_size).to_pylist()
    return table
