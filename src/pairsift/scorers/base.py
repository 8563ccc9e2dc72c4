"""The interface of scorers: preprocess on the CPU, then forward in batches on the device.

Preprocess may run in worker processes and returns :class:`Prepared`. A bad pair raises nothing: it
gets a status other than ok, is not passed to forward, and becomes a row of the score table with
null scores.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pairsift import embeddings
from pairsift.captions import check_caption
from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.metrics import Metric
from pairsift.pair import Fault, Pair, Status
from pairsift.scorers.scope import Scope
from pairsift.scores import schema_metrics, score_schema, status_array

WINDOW_BATCHES = 8


@dataclass(slots=True)
class Prepared:
    """One preprocessed pair.

    Attributes:
        width, height: of the stored image, in pixels; None if it could not be opened.
        caption_length: in characters, as stored; None without a caption.
        inputs: inputs of the forward pass; None unless the status is ok.
        carried: values of the columns that need no forward pass, whatever the status.
        misfits: those of these columns for which the sample has a value of another type.
    """

    shard: str
    key: str
    uid: str | None
    status: Status = Status.OK
    error: str | None = None
    width: int | None = None
    height: int | None = None
    caption_length: int | None = None
    inputs: Any = None
    carried: dict[str, Any] | None = None
    misfits: tuple[str, ...] = ()

    def fail(self, status: Status, error: str) -> Prepared:
        """Change this row, in place, into a failure."""
        self.status, self.error, self.inputs = status, error, None
        return self


Watch = Callable[[Sequence[Prepared]], None]


def _ignore(rows: Sequence[Prepared]) -> None:
    pass


class Preparer:
    """Preprocess: check one pair, decode its image, transform both. Runs on the CPU.

    It is picklable, so that it can run in worker processes. It does not raise: a pair that cannot
    be scored gets a status other than ok.

    Args:
        transform: picklable function from an RGB image and a caption to the scorer's inputs.
        limits: images above them get the status ``image_too_large``; None for
            :class:`~pairsift.images.ImageLimits` as it is by default.

    Examples:
        >>> from pathlib import Path
        >>> from pairsift import Pair
        >>> prepare = Preparer(lambda image, caption: image.size)
        >>> prepare(Pair("a", Path("pool/a.png").read_bytes(), "a red square")).inputs
        (300, 300)
        >>> prepare(Pair("b", b"", "a red square")).status.value
        'image_corrupt'
    """

    def __init__(
        self, transform: Callable[[Any, str], Any], limits: ImageLimits | None = None
    ) -> None:
        self.transform = transform
        self.limits = limits or ImageLimits()

    def limited(self, limits: ImageLimits) -> Preparer:
        """Return a copy with other limits."""
        return Preparer(self.transform, limits)

    def __call__(self, pair: Pair) -> Prepared:
        row = Prepared(pair.shard, pair.key, pair.uid)
        if pair.caption is not None:
            row.caption_length = len(pair.caption)
        fault = pair.fault
        if fault is not None and not (fault.status.of_caption and pair.image is not None):
            return row.fail(fault.status, fault.error)
        caption = fault or check_caption(pair.caption)  # the row still gets its image's size
        try:
            image, (row.width, row.height) = decode_image(pair.image, self.limits)
        except ImageFaultError as error:
            if error.size is not None:
                row.width, row.height = error.size
            if fault is not None:
                return row.fail(fault.status, fault.error)
            return row.fail(error.status, str(error))
        if isinstance(caption, Fault):
            return row.fail(caption.status, caption.error)
        try:
            row.inputs = self.transform(image, caption)
        except Exception as error:  # one bad pair must not end the run
            return row.fail(Status.MODEL_ERROR, f"{type(error).__name__}: {error}")
        return row


class Scorer(abc.ABC):
    """Turns pairs into scores: preprocess on the CPU, then forward in batches on the device.

    A subclass sets the attributes and defines `fingerprint` and `score_batch`.

    Attributes:
        name: as given to :func:`pairsift.load_scorer` and written in the fingerprint.
        columns: Arrow fields that this scorer adds to the score table; they never change.
        preparer: preprocesses one pair; most often a :class:`Preparer`.
        batch_size: pairs per forward pass if the caller gives no number; 32.
        carried: names of the columns that the preparer fills (`Prepared.carried`); none.
        scope: what the scorer was trained for; None if that is not known or nothing was trained.

    Examples:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> from pairsift.scorers.base import Preparer
        >>> class Width(Scorer):
        ...     name = "width"
        ...     columns = (pa.field("width_in_pixels", pa.int32()),)
        ...     preparer = Preparer(lambda image, caption: image.width)
        ...     fingerprint = {"scorer": "width", "scorer_version": "1"}
        ...
        ...     def score_batch(self, inputs):
        ...         return {"width_in_pixels": np.array(inputs)}
        >>> from pairsift.sources import find_shards, open_shard
        >>> pairs = open_shard(find_shards("pool").shards[0])
        >>> Width().score(pairs).column("width_in_pixels").to_pylist()
        [300, 100, 250, 400]
    """

    name: ClassVar[str]
    columns: tuple[pa.Field, ...]
    preparer: Callable[[Pair], Prepared]
    batch_size: int = 32
    carried: frozenset[str] = frozenset()
    scope: Scope | None = None

    @property
    @abc.abstractmethod
    def fingerprint(self) -> Mapping[str, str]:
        """Everything that decides a score, as text by name."""

    @abc.abstractmethod
    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        """Run the model on one batch (forward).

        Args:
            inputs: the preparer's result for each pair of the batch.

        Returns:
            one array of length ``len(inputs)`` per column name; NaN (None in a column of
            strings) means null.
        """

    @property
    def described(self) -> dict[str, Metric]:
        """The metrics that this scorer has columns of, by name, as the columns describe them."""
        return schema_metrics(pa.schema(self.columns))

    def novelty(self, inputs: Sequence[Any]) -> np.ndarray | None:
        """How sure it is that each image is of a kind that the scorer was not trained for.

        For marking rows (:class:`pairsift.scorers.marking.ScopeMarker`), which asks right after
        `score_batch`, with the same batch.

        Returns:
            0..1, one value a pair; None if the scorer cannot tell, as by default.
        """
        return None

    def cost(self, inputs: Any) -> int:
        """Return the work of a pair, in any unit (default 0); similar pairs share a batch."""
        return 0

    def order(self, inputs: Sequence[Any]) -> list[int]:
        """Return the order in which to score waiting pairs; neighbours share a batch.

        The order is by cost, so that short captions are not padded to the length of long ones.
        Pairs of equal cost keep their order, so the same pairs always make the same batches.

        Returns:
            positions in `inputs`.
        """
        return sorted(range(len(inputs)), key=lambda place: self.cost(inputs[place]))

    def prepare_all(self, pairs: Iterable[Pair]) -> list[Any]:
        """Preprocess pairs, all of which must be possible to score.

        Returns:
            the inputs of :meth:`score_batch`, in order.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key and the reason.
        """
        rows = [self.preparer(pair) for pair in pairs]
        for row in rows:
            if row.status is not Status.OK:
                raise PairsiftError(f"{row.key}: {row.status.value}: {row.error}")
        return [row.inputs for row in rows]

    def score(self, pairs: Iterable[Pair], batch_size: int | None = None) -> pa.Table:
        """Score pairs held in memory.

        Args:
            pairs: the pairs; read once.
            batch_size: pairs per forward pass; None for the scorer's default.

        Returns:
            a table of :func:`pairsift.scores.score_schema`, one row per pair, in order. A pair
            that cannot be scored has a status other than ``ok`` and null scores.
        """
        rows = map(self.preparer, pairs)
        return score_prepared(self, rows, batch_size or self.batch_size)


def score_prepared(
    scorer: Scorer, rows: Iterable[Prepared], batch_size: int, watch: Watch | None = None
) -> pa.Table:
    """Run forward over a stream of preprocessed rows; the table keeps their order.

    Pixels of at most ``WINDOW_BATCHES`` batches are in memory at a time.

    Args:
        watch: called with every row once its status is final; may raise to stop.
    """
    stream = iter(rows)
    tables = []
    while window := list(itertools.islice(stream, WINDOW_BATCHES * batch_size)):
        tables.append(_score_window(scorer, window, batch_size, watch or _ignore))
    if not tables:
        return score_schema(scorer.columns).empty_table()
    return pa.concat_tables(tables).combine_chunks()


def _score_window(
    scorer: Scorer, rows: Sequence[Prepared], batch_size: int, watch: Watch
) -> pa.Table:
    """Score the pairs of a window in batches, in the order given by :meth:`Scorer.order`."""
    columns = {
        field.name: _nulls(field, len(rows))
        for field in scorer.columns
        if field.name not in scorer.carried
    }
    good = [index for index, row in enumerate(rows) if row.status is Status.OK]
    watch([row for row in rows if row.status is not Status.OK])
    good = [good[place] for place in scorer.order([rows[index].inputs for index in good])]
    for start in range(0, len(good), batch_size):
        batch = good[start : start + batch_size]
        for indices, values in _score_safely(scorer, rows, batch):
            for name, array in values.items():
                columns[name][indices] = array
        for index in batch:
            rows[index].inputs = None  # frees its pixels
        watch([rows[index] for index in batch])
    return _assemble(scorer, rows, columns)


def _nulls(field: pa.Field, count: int) -> np.ndarray:
    if pa.types.is_string(field.type):
        return np.full(count, None, dtype=object)
    if pa.types.is_fixed_size_list(field.type):
        return np.full((count, field.type.list_size), np.nan, dtype=np.float16)
    return np.full(count, np.nan, dtype=np.float64)


def _score_safely(
    scorer: Scorer, rows: Sequence[Prepared], batch: list[int]
) -> Iterable[tuple[list[int], Mapping[str, np.ndarray]]]:
    """Score a batch. If it raises, score its pairs one by one, so that only one pair fails."""
    try:
        yield batch, scorer.score_batch([rows[index].inputs for index in batch])
    except Exception as error:
        if len(batch) == 1:
            rows[batch[0]].fail(Status.MODEL_ERROR, f"{type(error).__name__}: {error}")
            return
        for index in batch:
            yield from _score_safely(scorer, rows, [index])


def _to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return embeddings.to_arrow(values)
    return pa.array(values, from_pandas=True).cast(kind)


def _assemble(
    scorer: Scorer, rows: Sequence[Prepared], columns: Mapping[str, np.ndarray]
) -> pa.Table:
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
        _to_arrow(columns[field.name], field.type)
        if field.name in columns
        else pa.array([(row.carried or {}).get(field.name) for row in rows], field.type)
        for field in scorer.columns
    ]
    return pa.Table.from_arrays([*identity, *scores], schema=score_schema(scorer.columns))
