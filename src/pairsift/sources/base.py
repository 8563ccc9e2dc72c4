"""What a source is: shards that are found once and read as streams of pairs."""

from __future__ import annotations

import abc
import re
import uuid
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pairsift.pair import Fault, Pair, Status

# Samples of a shard fail alike if more than this share of them do.
MOSTLY = 0.9
_UID = re.compile(r"[0-9a-fA-F]{32}")


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
        version: see :class:`~pairsift.sources.files.FileEntry`; None if the listing did not tell.
    """

    name: str
    url: str
    kind: str
    size: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The shards of a run, in order, and the folder they lie below.

    Attributes:
        root: absolute local path, or URL without a trailing slash.
        options: of the source, as the user gave them for all shards.
        notes: what was found and left out, in sentences to be told once.
    """

    root: str
    shards: tuple[Shard, ...]
    options: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


class ShardReader(abc.ABC):
    """Streams one shard's pairs in their stored order, in memory that does not grow.

    Iterating never raises for what is wrong with a sample: such a pair carries a ``fault``. What
    is wrong with the shard itself (cut off, partly unreadable) is told in ``problem``, in words,
    and all that can be read is yielded. It does raise :class:`PairsiftError` for a shard that
    cannot be opened, and OSError where the storage, not the data, fails: reading the shard again
    may help.

    A reader declares what it reads:

    - ``kind``: the name of the format.
    - ``extensions``: ends of file names, in lower case with the dot; empty for a format that is
      known by `kind` alone.
    - ``options``: names of the options of :func:`pairsift.sources.find_shards` that it takes.

    Attributes:
        problem: None after a clean end.
        notes: what was odd but did no harm, in words, with how often it was met.
        byte_ranges: start and end in the shard of every sample yielded, one after the other; -1
            twice for one that does not lie together; None where samples are no runs of bytes.
    """

    kind: ClassVar[str]
    extensions: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.problem: str | None = None
        self.notes: Counter[str] = Counter()
        self.byte_ranges: array[int] | None = None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Pair]:
        """Yield every sample as a pair, those that cannot be scored included."""

    def check(self, pair: Pair) -> int:
        """Checksum, 32 bits, of the pair that was yielded last: what it is made of, byte for byte.

        A sample whose checksum is another one than when it was scored has changed since.
        """
        caption = (pair.caption or "").encode("utf-8", "surrogatepass")
        start = zlib.crc32(f"{len(caption)}\0{pair.uid}\0".encode() + caption)
        return zlib.crc32(pair.image or b"", start)


def valid_uid(value: object) -> str | None:
    """The value if it is a DataComp uid, 32 hexadecimal digits, or the 16 bytes these stand for."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, bytes) and len(value) == 16:
        return value.hex()
    return value if isinstance(value, str) and _UID.fullmatch(value) else None


def declared_failure(metadata: Mapping[str, Any]) -> Fault | None:
    """The fault of a sample that its source marks as failed, as img2dataset does; else None."""
    status = metadata.get("status")
    if not isinstance(status, str) or status == "success":
        return None
    if "error_message" not in metadata and not status.startswith("failed"):
        return None  # another kind of status
    reason = metadata.get("error_message") or "no reason given"
    return Fault(Status.SOURCE_FAILED, printable(f"{status}: {reason}"))


def printable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a name that are not UTF-8 become ``\\xNN``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
