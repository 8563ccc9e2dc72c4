"""The interface of scorers: preprocess on the CPU, then forward in batches on the device.

Preprocess may run in worker processes and returns :class:`Prepared`. A bad pair raises nothing: it
gets a status other than ok, is not passed to forward, and becomes a row of the score table with
null scores.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pairsift.captions import check_caption
from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.metrics import Metric
from pairsift.pair import Fault, Pair, Status
from pairsift.scorers.batches import score_prepared
from pairsift.scorers.scope import Scope
from pairsift.scores import schema_metrics

Columns = Mapping[str, np.ndarray]


@dataclass(slots=True)
class Prepared:
    """One preprocessed pair.

    Attributes:
        width, height: of the stored image, in pixels; None if it could not be opened.
        caption_length: in characters, as stored; None without a caption.
        inputs: inputs of the forward pass; None unless the status is ok.
        carried: values of the columns that need no forward pass, whatever the status.
        misfits: those of these columns for which the sample has a value of another type.
        seen: what a look at the decoded image gave, see :meth:`Preparer.looking`.
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
    seen: Any = None

    def fail(self, status: Status, error: str) -> Prepared:
        """Change this row, in place, into a failure."""
        self.status, self.error, self.inputs = status, error, None
        return self


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
        self._look: Callable[[Any], Any] | None = None

    def limited(self, limits: ImageLimits) -> Preparer:
        """Return a copy with other limits."""
        found = copy.copy(self)
        found.limits = limits
        return found

    def looking(self, look: Callable[[Any], Any]) -> Preparer:
        """Return a copy that also puts what `look` makes of the decoded image into the row.

        Args:
            look: picklable function, called before the transform, which may change the image.
        """
        found = copy.copy(self)
        found._look = look
        return found

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
            row.seen = self._look and self._look(image)
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
    def score_batch(self, inputs: Sequence[Any]) -> Columns:
        """Run the model on one batch (forward).

        Args:
            inputs: the preparer's result for each pair of the batch.

        Returns:
            one array of length ``len(inputs)`` per column name; NaN (None in a column of
            strings) means null.
        """

    def collate(self, inputs: Sequence[Any]) -> Any:
        """Make a batch ready for the device: stack, pad, pin. It is called in another thread.

        Args:
            inputs: as of :meth:`score_batch`.

        Returns:
            what :meth:`start` takes; by default the inputs.
        """
        return inputs

    def start(self, collated: Any) -> Callable[[], Columns]:
        """Begin the forward pass of a batch. The device may still run when this returns.

        By default the whole of :meth:`score_batch`; a scorer with a device is a
        :class:`DeviceScorer`.

        Returns:
            a function that waits for the results, and returns them as :meth:`score_batch` does.
        """
        columns = self.score_batch(collated)
        return lambda: columns

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


class DeviceScorer(Scorer):
    """A scorer that begins a batch before the results of the last one are fetched.

    A subclass defines `start`, and `collate` where there is something to collate.

    Examples:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> from pairsift.scorers.base import Preparer
        >>> class Width(DeviceScorer):
        ...     name = "width"
        ...     columns = (pa.field("width_in_pixels", pa.int32()),)
        ...     preparer = Preparer(lambda image, caption: image.width)
        ...     fingerprint = {"scorer": "width", "scorer_version": "1"}
        ...
        ...     def collate(self, inputs):
        ...         return np.array(inputs)
        ...
        ...     def start(self, collated):  # a model on a device begins its forward pass here
        ...         return lambda: {"width_in_pixels": collated}
        >>> from pairsift.sources import find_shards, open_shard
        >>> pairs = open_shard(find_shards("pool").shards[0])
        >>> Width().score(pairs).column("width_in_pixels").to_pylist()
        [300, 100, 250, 400]
    """

    def score_batch(self, inputs: Sequence[Any]) -> Columns:
        return self.start(self.collate(inputs))()

    @abc.abstractmethod
    def start(self, collated: Any) -> Callable[[], Columns]:
        """Begin a batch; return a function that waits for its results and returns them."""
