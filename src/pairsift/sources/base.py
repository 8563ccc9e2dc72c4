"""What a source is: shards that are found once and read as streams of pairs."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pairsift.pair import Pair


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work: a tar, a parquet file, or a folder with its captions.

    Attributes:
        name: path below the root of the run, without extension, ``/`` written as ``__``; it names
            the score file and fills the ``shard`` column.
        url: where it is, as a path or fsspec URL.
        kind: which source reads it.
        size: bytes, if the listing told; None otherwise.
        options: of the source, for example the column that holds the caption.
    """

    name: str
    url: str
    kind: str
    size: int | None = None
    options: tuple[tuple[str, Any], ...] = ()


class ShardReader(abc.ABC):
    """Streams one shard's pairs in their stored order, in constant memory.

    Iterating never raises for what is wrong with a sample: such a pair carries a ``fault``. What
    is wrong with the shard itself (cut off, unreadable from some point on) ends the iteration and
    is told in ``problem``, in words; it is None after a clean end.
    """

    kind: ClassVar[str]

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.problem: str | None = None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Pair]:
        """Yield every sample as a pair, those that cannot be scored included."""
