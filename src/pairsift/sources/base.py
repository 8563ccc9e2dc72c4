"""The records of a source: shards, which are listed once and read as streams of pairs."""

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

from pairsift.pair import Fault, Pair, Status, Texts
from pairsift.sources import files
from pairsift.sources.files import FileEntry

# If more than this fraction of a shard's samples fail in the same way, the shard is at fault.
MOSTLY = 0.9
LISTS = "caption_lists"
"""Option of a source: where the caption is a list, all its texts, as :attr:`Pair.captions`."""
_UID = re.compile(r"[0-9a-fA-F]{32}")
# Surrogates that do not stand for a byte of a name.
_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work: a tar, a parquet file, or a folder with its captions.

    Attributes:
        name: path below the root of the run, without extension, with ``/`` written as ``__``. It
            names the score file and is the value of the ``shard`` column.
        url: its path or fsspec URL.
        kind: which source reads it.
        size: bytes; None if the listing does not say.
        options: options of the source, for example the column that holds the caption.
        version: see :class:`~pairsift.sources.files.FileEntry`; None if the listing does not say.
    """

    name: str
    url: str
    kind: str
    size: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The shards of a run, in order, and the folder that contains them.

    Attributes:
        root: absolute local path, or URL without a trailing slash.
        options: options of the source as the user gave them, for all shards.
        notes: sentences on what was found but left out; to be shown once.
    """

    root: str
    shards: tuple[Shard, ...]
    options: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


class ShardReader(abc.ABC):
    """Streams one shard's pairs in their stored order, in bounded memory.

    Iterating never raises for a bad sample: its pair has a ``fault``. If the shard itself is
    damaged (truncated, partly unreadable), everything readable is yielded and ``problem`` says in
    words what is wrong. Iterating does raise :class:`PairsiftError` for a shard that cannot be
    opened, and OSError if the storage fails rather than the data, when reading the shard again may
    help.

    A reader declares what it reads:

    - ``kind``: the name of the format.
    - ``extensions``: file extensions, in lower case with the dot; empty for a format that is only
      read when `kind` names it.
    - ``options``: names of the options of :func:`pairsift.sources.find_shards` that it accepts.

    Attributes:
        problem: None after a clean end.
        notes: harmless irregularities in words, each with how often it occurred.
        byte_ranges: start and end in the shard of every sample yielded, one after the other; -1
            twice for a sample that is not contiguous; None for formats whose samples are not byte
            ranges.
    """

    kind: ClassVar[str]
    extensions: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.problem: str | None = None
        self.notes: Counter[str] = Counter()
        self.byte_ranges: array[int] | None = None

    @classmethod
    def look_up(cls, shard: Shard) -> FileEntry | None:
        """Look up the size and version that a shard has now; None if it is not there any more."""
        return files.look_up(shard.url)

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Pair]:
        """Yield every sample as a pair, including those that cannot be scored."""

    def check(self, pair: Pair) -> int:
        """Return a 32-bit checksum of all bytes that make up the pair yielded last.

        A sample whose checksum differs from the one at scoring time has changed since.
        """
        caption = (pair.caption or "").encode("utf-8", "surrogatepass")
        start = zlib.crc32(f"{len(caption)}\0{pair.uid}\0".encode() + caption)
        return zlib.crc32(pair.image or b"", start)


def valid_uid(value: object) -> str | None:
    """Return the value if it is a DataComp uid: 32 hexadecimal digits, or as 16 bytes."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, bytes) and len(value) == 16:
        return value.hex()
    return value if isinstance(value, str) and _UID.fullmatch(value) else None


def any_text(captions: Texts) -> str | Fault | None:
    """Return the first of the texts of a list that can be used, else what the first one lacks."""
    return next((text for text in captions if isinstance(text, str)), captions[0])


def declared_failure(metadata: Mapping[str, Any]) -> Fault | None:
    """Return the fault of a sample that its source marks as failed; else None."""
    status = metadata.get("status")
    if not isinstance(status, str) or status == "success":
        return None
    if "error_message" not in metadata and not status.startswith("failed"):
        return None  # a status with another meaning
    reason = metadata.get("error_message") or "no reason given"
    return Fault(Status.SOURCE_FAILED, printable(f"{status}: {reason}"))


def printable(text: str) -> str:
    """Return text that UTF-8 can hold.

    Bytes of a name that are not UTF-8 become ``\\xNN``, and halves of a pair of surrogates, as JSON
    may have them, ``\\uNNNN``.
    """
    text = _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
