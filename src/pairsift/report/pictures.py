"""Captions and thumbnails of chosen pairs, read from the source shards they came from."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.pair import Pair
from pairsift.report.table import Details, split_position
from pairsift.sources import Shard, open_shard

THUMBNAIL_PIXELS = 256
JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True)
class Picture:
    """What a card shows besides scores: caption, thumbnail as a data URI, or why there is none."""

    caption: str | None = None
    thumbnail: str | None = None
    problem: str | None = None


def fetch_pictures(
    wanted: Mapping[int, Details], facts: Sequence[Mapping[str, Any]]
) -> dict[int, Picture]:
    """Read the wanted pairs; every shard that holds one is opened once and read in order.

    Args:
        wanted: rows by their place.
        facts: of each score file: source, source_kind, source_options.

    Returns:
        a picture per place; one with a `problem` where the shard has moved or changed.
    """
    by_table: dict[int, dict[int, int]] = defaultdict(dict)
    for pos in wanted:
        table, row = split_position(pos)
        by_table[table][row] = pos
    pictures: dict[int, Picture] = {}
    for table, rows in sorted(by_table.items()):
        for row, picture in _read_shard(
            {row: wanted[pos] for row, pos in rows.items()}, facts[table]
        ):
            pictures[rows[row]] = picture
    return pictures


def source_shard(name: str, facts: Mapping[str, Any]) -> Shard:
    """The shard that a score file was made from.

    Raises:
        PairsiftError: the score file does not say.
    """
    if not facts.get("source") or not facts.get("source_kind"):
        raise PairsiftError(f"the score file of {name} does not say where its source shard is")
    options = tuple(sorted((facts.get("source_options") or {}).items()))
    return Shard(name, facts["source"], facts["source_kind"], facts.get("source_size"), options)


def _read_shard(
    wanted: dict[int, Details], facts: Mapping[str, Any]
) -> Iterator[tuple[int, Picture]]:
    """Pictures by row, read up to the last row that is wanted."""
    problem = "the source shard ends before this sample"
    last = max(wanted)
    try:
        for row, pair in enumerate(open_shard(source_shard(wanted[last].shard, facts))):
            if row in wanted:
                yield row, _picture(pair, wanted.pop(row).key)
            if row >= last:
                return
    except PairsiftError as error:
        problem = str(error)
    except Exception as error:  # a report on scores is worth having without its pictures
        problem = f"{type(error).__name__}: {error}"
    for row in wanted:
        yield row, Picture(problem=problem)


def _picture(pair: Pair, key: str) -> Picture:
    if pair.key != key:
        return Picture(problem=f"the source shard has changed: it holds {pair.key!r} in this place")
    try:
        return Picture(pair.caption, thumbnail(pair.image))
    except ImageFaultError as fault:
        return Picture(pair.caption, problem=str(fault))


def thumbnail(image: bytes | None) -> str:
    """A small JPEG as a data URI; raises as :func:`small_jpeg` does."""
    return "data:image/jpeg;base64," + base64.b64encode(small_jpeg(image)).decode()


def small_jpeg(image: bytes | None, pixels: int = THUMBNAIL_PIXELS) -> bytes:
    """The image drawn anew as a JPEG of at most `pixels` on its longer side.

    Raises:
        ImageFaultError: the bytes are no image that can be decoded safely.
    """
    decoded, _ = decode_image(image, ImageLimits())
    decoded.thumbnail((pixels, pixels))
    buffer = io.BytesIO()
    decoded.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
