"""Captions and thumbnails of chosen pairs, read from the source shards they came from."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.pair import Pair
from pairsift.report.galleries import Pick
from pairsift.sources import Shard, open_shard

THUMBNAIL_PIXELS = 256
JPEG_QUALITY = 70

Place = tuple[int, int]
"""Index of the score file and row in it, which is the sample's place in the source shard."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a card shows besides scores: caption, thumbnail as a data URI, or why there is none."""

    caption: str | None = None
    thumbnail: str | None = None
    problem: str | None = None


def fetch_pictures(
    picks: Iterable[Pick], facts: Sequence[Mapping[str, Any]]
) -> dict[Place, Picture]:
    """Read the chosen pairs; every shard that holds one is opened once and read in order.

    Args:
        facts: of each score file: source, source_kind, source_options.

    Returns:
        a picture per pick; one with a `problem` where the shard has moved or changed.
    """
    wanted: dict[int, dict[int, Pick]] = defaultdict(dict)
    for pick in picks:
        wanted[pick.table][pick.row] = pick
    pictures: dict[Place, Picture] = {}
    for table in sorted(wanted):
        pictures.update(_read_shard(wanted[table], facts[table]))
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


def _read_shard(picks: Mapping[int, Pick], facts: Mapping[str, Any]) -> dict[Place, Picture]:
    found: dict[Place, Picture] = {}
    problem = "the source shard ends before this sample"
    last = max(picks)
    try:
        shard = source_shard(picks[last].shard, facts)
        for row, pair in enumerate(open_shard(shard)):
            if row in picks:
                found[picks[row].table, row] = _picture(pair, picks[row])
            if row >= last:
                break
    except Exception as error:  # a report on scores is worth having without its pictures
        problem = (
            str(error) if isinstance(error, PairsiftError) else f"{type(error).__name__}: {error}"
        )
    for row, pick in picks.items():
        found.setdefault((pick.table, row), Picture(problem=problem))
    return found


def _picture(pair: Pair, pick: Pick) -> Picture:
    if pair.key != pick.key:
        return Picture(problem=f"the source shard has changed: it holds {pair.key!r} in this place")
    try:
        return Picture(pair.caption, thumbnail(pair.image))
    except ImageFaultError as fault:
        return Picture(pair.caption, problem=str(fault))


def thumbnail(image: bytes | None) -> str:
    """A small JPEG as a data URI, at most ``THUMBNAIL_PIXELS`` on its longer side.

    Raises:
        ImageFaultError: the bytes are no image that can be decoded safely.
    """
    decoded, _ = decode_image(image, ImageLimits())
    decoded.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    decoded.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
