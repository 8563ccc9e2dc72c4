"""Captions and thumbnails of chosen pairs, read from their source shards."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.pair import Pair
from pairsift.report.sources import SourceShards
from pairsift.report.table import split_position

THUMBNAIL_PIXELS = 256
JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True)
class Picture:
    """What a card shows besides scores: caption, and thumbnail or why there is none."""

    caption: str | None = None
    thumbnail: str | None = None
    problem: str | None = None


def fetch_pictures(wanted: Iterable[int], shards: SourceShards) -> dict[int, Picture]:
    """Read pairs; every shard that holds one is opened once and read in order.

    Args:
        wanted: positions of rows.

    Returns:
        a picture per position; it has a `problem` if the shard was moved or has changed.
    """
    by_table: dict[int, dict[int, int]] = defaultdict(dict)
    for pos in sorted(wanted):
        table, row = split_position(pos)
        by_table[table][row] = pos
    pictures: dict[int, Picture] = {}
    for table, rows in by_table.items():
        problem = "the score table has no such row"
        try:
            for row, pair in shards.rows(table, rows):
                pictures[rows[row]] = _picture(pair)
        except PairsiftError as error:
            problem = str(error)
        except Exception as error:  # a report is useful even without pictures
            problem = f"{type(error).__name__}: {error}"
        pictures = {pos: Picture(problem=problem) for pos in rows.values()} | pictures
    return pictures


def _picture(pair: Pair) -> Picture:
    try:
        return Picture(pair.caption, thumbnail(pair.image))
    except ImageFaultError as fault:
        return Picture(pair.caption, problem=str(fault))


def thumbnail(image: bytes | None) -> str:
    """Return a small JPEG as a data URI; raises errors like :func:`small_jpeg`."""
    return "data:image/jpeg;base64," + base64.b64encode(small_jpeg(image)).decode()


def small_jpeg(image: bytes | None, pixels: int = THUMBNAIL_PIXELS) -> bytes:
    """Encode the image again as a JPEG of at most `pixels` on its longer side.

    Raises:
        ImageFaultError: the bytes are not an image that can be decoded safely.
    """
    decoded, _ = decode_image(image, ImageLimits())
    decoded.thumbnail((pixels, pixels))
    buffer = io.BytesIO()
    decoded.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
