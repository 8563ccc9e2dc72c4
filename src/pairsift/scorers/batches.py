"""Run a scorer over preprocessed rows so that its device does not wait for Python.

    thread:  read rows, order them, collate batch n + 2
    here:    start batch n + 1, then fetch the results of batch n
    device:  batch n, batch n + 1

A batch that fails, when it is collated, started or fetched, is scored pair by pair, so that only
the bad pair fails.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from pairsift import embeddings
from pairsift.pair import Status
from pairsift.scores import score_schema, status_array

if TYPE_CHECKING:
    from pairsift.scorers.base import Columns, Prepared, Scorer

# Batches whose rows are ordered together.
WINDOW_BATCHES = 8
# Batches before or after them in memory: collated, started, and not fetched yet.
BATCHES_BESIDE = 3
# How often the thread looks whether it is still needed.
_LOOK_S = 0.1
# Do not wait longer for one that reads; it is a daemon thread.
_PATIENCE_S = 1.0

Item = TypeVar("Item")


def score_prepared(
    scorer: Scorer,
    rows: Iterable[Prepared],
    batch_size: int,
    watch: Callable[[Sequence[Prepared]], None] | None = None,
) -> pa.Table:
    """Run forward over a stream of preprocessed rows; the table keeps their order.

    Pixels of at most ``WINDOW_BATCHES + BATCHES_BESIDE`` batches are in memory at a time.

    Args:
        rows: iterated in another thread.
        watch: called with every row once its status is final; may raise to stop.
    """
    tables: list[pa.Table] = []
    running: _Batch | None = None
    with contextlib.closing(_Ahead(_collated(scorer, rows, batch_size))) as batches:
        for batch in itertools.chain(batches, [None]):
            if batch is not None:
                batch.start(scorer)
            if running is not None:
                running.finish(scorer)
                if watch is not None:
                    watch(running.rows)
                if running.is_last:
                    tables.append(running.window.table(scorer))
            running = batch
    if not tables:
        return score_schema(scorer.columns).empty_table()
    return pa.concat_tables(tables).combine_chunks()


class _Window:
    """Rows that are ordered together, and the scores found so far."""

    def __init__(self, scorer: Scorer, rows: Sequence[Prepared]) -> None:
        self.rows = rows
        self.columns = {
            field.name: _nulls(field, len(rows))
            for field in scorer.columns
            if field.name not in scorer.carried
        }

    def table(self, scorer: Scorer) -> pa.Table:
        rows = self.rows
        identity = [
            pa.array([row.shard for row in rows], pa.string()),
            pa.array([row.key for row in rows], pa.string()),
            pa.array([row.uid for row in rows], pa.string()),
            status_array([row.status for row in rows]),
            pa.array([row.error for row in rows], pa.string()),
            pa.array([row.width for row in rows], pa.int32()),
            pa.array([row.height for row in rows], pa.int32()),
            pa.array([row.caption_length for row in rows], pa.int32()),
        ]
        scores = [
            _to_arrow(self.columns[field.name], field.type)
            if field.name in self.columns
            else pa.array([(row.carried or {}).get(field.name) for row in rows], field.type)
            for field in scorer.columns
        ]
        return pa.Table.from_arrays([*identity, *scores], schema=score_schema(scorer.columns))


@dataclass
class _Batch:
    """Rows of a window: those of one forward pass, or those that cannot be scored.

    Attributes:
        collated: what :meth:`Scorer.start` takes; None if there is nothing to start.
        error: why it failed as a whole.
        is_last: of its window.
    """

    window: _Window
    indices: Sequence[int]
    is_last: bool
    collated: Any = None
    error: str | None = None
    fetch: Callable[[], Columns] | None = None

    @property
    def rows(self) -> list[Prepared]:
        return [self.window.rows[index] for index in self.indices]

    def collate(self, scorer: Scorer) -> None:
        try:
            self.collated = scorer.collate([row.inputs for row in self.rows])
        except Exception as error:
            self.error = _text(error)

    def start(self, scorer: Scorer) -> None:
        collated, self.collated = self.collated, None
        if collated is None:
            return
        try:
            self.fetch = scorer.start(collated)
        except Exception as error:
            self.error = _text(error)

    def finish(self, scorer: Scorer) -> None:
        """Wait for the scores, and free the pixels."""
        fetch, self.fetch = self.fetch, None
        if fetch is not None:
            try:
                self._put(self.indices, fetch())
            except Exception as error:
                self.error = _text(error)
        if self.error is not None:
            self._score_one_by_one(scorer)
        for row in self.rows:
            row.inputs = None

    def _score_one_by_one(self, scorer: Scorer) -> None:
        for index, row in zip(self.indices, self.rows, strict=True):
            why = self.error if len(self.indices) == 1 else None
            if why is None:
                try:
                    self._put([index], scorer.score_batch([row.inputs]))
                    continue
                except Exception as error:
                    why = _text(error)
            row.fail(Status.MODEL_ERROR, why)

    def _put(self, indices: Sequence[int], values: Columns) -> None:
        for name, array in values.items():
            self.window.columns[name][indices] = array


def _collated(
    scorer: Scorer, rows: Iterable[Prepared], batch_size: int
) -> Generator[_Batch, None, None]:
    """Read rows window by window, in the order given by :meth:`Scorer.order`."""
    stream = iter(rows)
    while waiting := list(itertools.islice(stream, WINDOW_BATCHES * batch_size)):
        window = _Window(scorer, waiting)
        good = [index for index, row in enumerate(waiting) if row.status is Status.OK]
        bad = [index for index, row in enumerate(waiting) if row.status is not Status.OK]
        good = [good[place] for place in scorer.order([waiting[index].inputs for index in good])]
        for start in range(0, len(good), batch_size):
            last = start + batch_size >= len(good) and not bad
            batch = _Batch(window, good[start : start + batch_size], is_last=last)
            batch.collate(scorer)
            yield batch
        if bad:  # last, because whoever watches may stop at a share of failures
            yield _Batch(window, bad, is_last=True)


class _Ahead(Generic[Item]):
    """Iterates in a thread, one item ahead, until it is closed."""

    def __init__(self, items: Generator[Item, None, None]) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pairsift-batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while (got := self._queue.get())[0] is not None:
            yield got[0]
        if got[1] is not None:
            raise got[1]

    def close(self) -> None:
        self._closed.set()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with contextlib.closing(self._items):
                for item in self._items:
                    if not self._put((item, None)):
                        return
        except BaseException as caught:  # raised by the consumer
            error = caught
        self._put((None, error))

    def _put(self, item: tuple[Item | None, BaseException | None]) -> bool:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_LOOK_S)
                return True
        return False


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _nulls(field: pa.Field, count: int) -> np.ndarray:
    if pa.types.is_string(field.type):
        return np.full(count, None, dtype=object)
    if pa.types.is_fixed_size_list(field.type):
        return np.full((count, field.type.list_size), np.nan, dtype=np.float16)
    return np.full(count, np.nan, dtype=np.float64)


def _to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return embeddings.to_arrow(values)
    return pa.array(values, from_pandas=True).cast(kind)
