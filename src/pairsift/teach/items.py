"""The pairs to annotate: images with known-good captions, or pairs as they are."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.captions import check_caption
from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status
from pairsift.sources import find_shards, open_shard
from pairsift.sources.caption_files import read_captions
from pairsift.sources.columns import CAPTION_COLUMNS, find_column
from pairsift.sources.image_store import Images, ImageStore
from pairsift.sources.tables import read_rows

_log = logging.getLogger("pairsift.inputs")
ALT_TEXT_COLUMNS = ("alt_text", *CAPTION_COLUMNS)


@dataclass(frozen=True, slots=True)
class Item:
    """One image and its own captions, in the order of the file."""

    image: str
    captions: tuple[str, ...]


def read_items(
    captions: str,
    images: Images | None,
    *,
    separator: str | None = None,
    encoding: str | None = None,
) -> list[Item]:
    """Read images and captions from a file (see
    :func:`pairsift.sources.caption_files.read_captions`).

    Args:
        images: if it is an :class:`ImageStore`, images that are not in it are left out and their
            number is logged. So a file with the captions of all splits can be used with the images
            of one.
        separator, encoding: of the captions file; detected if None.

    Raises:
        PairsiftError: nothing is left.
    """
    grouped: dict[str, list[tuple[int, str]]] = {}
    read = read_captions(captions, separator=separator, encoding=encoding)
    for (name, index), text in read.items():
        if text.strip():
            grouped.setdefault(name, []).append((index, text))
    if isinstance(images, ImageStore):
        missing = dict.fromkeys(images.missing(grouped))
        if missing:
            first = images.why_missing(next(iter(missing)))
            if len(missing) == len(grouped):
                raise PairsiftError(
                    f"none of the {len(grouped):,} images that {captions} names are in the given "
                    f"places; the first: {first}"
                )
            _log.info(
                "%s: %s of %s images are left out, because they are not in the given places; the "
                "first: %s", captions, f"{len(missing):,}", f"{len(grouped):,}", first,
            )  # fmt: skip
        grouped = {name: texts for name, texts in grouped.items() if name not in missing}
    if not grouped:
        raise PairsiftError(f"{captions} holds no caption that is more than white space")
    return [Item(name, tuple(text for _, text in sorted(texts))) for name, texts in grouped.items()]


class ShardImages:
    """The images of pairs that were read once, by `shard/key`, in a temporary file.

    Shards are read as streams, but teachers ask for images in any order. The file is as large as
    the images, and the system removes it when the process ends.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places: Sequence[str] = places
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the object
        self._ranges: dict[str, tuple[int, int]] = {}
        self._end = 0

    def add(self, name: str, content: bytes) -> None:
        """Store an image."""
        self._file.write(content)
        self._ranges[name] = (self._end, len(content))
        self._end += len(content)

    def read(self, name: str) -> bytes:
        """Return the encoded bytes of an image; several threads may call it.

        Raises:
            PairsiftError: no pair with that name was read.
        """
        if name not in self._ranges:
            raise PairsiftError(f"no pair {name!r} in {', '.join(self.places)}")
        self._file.flush()
        start, length = self._ranges[name]
        content = bytearray()
        while len(content) < length:  # a call may return fewer bytes than asked for
            part = os.pread(self._file.fileno(), length - len(content), start + len(content))
            if not part:
                raise PairsiftError(f"the temporary file with the image {name!r} is cut off")
            content += part
        return bytes(content)


def read_shards(
    patterns: Sequence[str], limit: int | None = None, **options: Any
) -> tuple[list[Item], Images]:
    """Read pairs from anything that `pairsift score` reads, as images with one caption each.

    Pairs that cannot be used are left out; their number and the reasons are logged.

    Args:
        limit: read at most this many pairs.
        options: options of the source and `kind`, see :func:`pairsift.sources.find_shards`.

    Raises:
        PairsiftError: there is no shard, or no readable pair in the shards.
    """
    found = find_shards(patterns, **options)
    items: list[Item] = []
    images = ShardImages([shard.url for shard in found.shards])
    left_out: Counter[str] = Counter()
    for shard in found.shards:
        if limit is not None and len(items) >= limit:
            break
        reader = open_shard(shard)
        for pair in reader:
            fault = pair.fault or _unfit(pair)
            if fault is not None:
                left_out[fault.status.value] += 1
                if left_out.total() == 1:
                    _log.info("%s: %s is left out: %s", shard.url, pair.key, fault.error)
                continue
            name = f"{shard.name}/{pair.key}"
            images.add(name, pair.image or b"")
            items.append(Item(name, (pair.caption or "",)))
            if limit is not None and len(items) >= limit:
                break
        if reader.problem:
            _log.info("%s: %s", shard.url, reader.problem)
    counts = ", ".join(f"{count:,} {status}" for status, count in left_out.most_common())
    if not items:
        raise PairsiftError(f"no readable pair in {', '.join(patterns)} ({counts or 'no pair'})")
    if left_out:
        _log.info("%s pairs read, left out: %s", f"{len(items):,}", counts)
    return items, images


def _unfit(pair: Pair) -> Fault | None:
    """Return why a pair cannot be used, by the same checks as scoring; None if it can."""
    if not pair.image:
        return Fault(Status.IMAGE_MISSING, "the pair has no image")
    caption = check_caption(pair.caption)
    return caption if isinstance(caption, Fault) else None


def read_alt_text(path: str) -> list[str]:
    """Read the alt texts of a table that are longer than two characters, truncated at 200.

    Raises:
        PairsiftError: the table has no column with alt texts.
    """
    rows = read_rows(path)
    if not rows:
        raise PairsiftError(f"{path} holds no alt text")
    column = find_column(list(rows[0]), ALT_TEXT_COLUMNS, path, "alt text")
    return list(_usable(str(row[column] or "") for row in rows))


def _usable(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        text = text.strip()[:200]
        if len(text) > 2:
            yield text
