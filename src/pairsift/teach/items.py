"""What is taught about: images with the captions that are known to be good, or just given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pairsift.errors import PairsiftError
from pairsift.evaluate.captions import CAPTION_COLUMNS, read_captions
from pairsift.evaluate.images import Images, ImageStore
from pairsift.evaluate.tables import first_column, read_rows
from pairsift.sources import Shard, find_shards, open_shard

ALT_TEXT_COLUMNS = ("alt_text", *CAPTION_COLUMNS)


@dataclass(frozen=True, slots=True)
class Item:
    """One image and its own captions, in their order."""

    image: str
    captions: tuple[str, ...]


def read_items(captions: str, images: Images | None) -> list[Item]:
    """Images of a captions file (see :func:`pairsift.evaluate.captions.read_captions`).

    Args:
        images: if it is an :class:`ImageStore`, images that are not in it are left out, so that a
            file with the captions of all splits can be used with the images of one.

    Raises:
        PairsiftError: nothing is left.
    """
    grouped: dict[str, list[tuple[int, str]]] = {}
    for (name, index), text in read_captions(captions).items():
        if text.strip():
            grouped.setdefault(name, []).append((index, text))
    if isinstance(images, ImageStore):
        missing = set(images.missing(grouped))
        grouped = {name: texts for name, texts in grouped.items() if name not in missing}
    if not grouped:
        raise PairsiftError(f"none of the images that {captions} names are in the given places")
    return [Item(name, tuple(text for _, text in sorted(texts))) for name, texts in grouped.items()]


class ShardImages:
    """Images of shards, by `shard/key`. One shard is open at a time."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.places: Sequence[str] = [shard.url for shard in shards]
        self._urls = {shard.name: shard.url for shard in shards}
        self._open: tuple[str, ImageStore] | None = None

    def read(self, name: str) -> bytes:
        shard, _, key = name.partition("/")
        if shard not in self._urls:
            raise PairsiftError(f"no shard {shard!r} among those given, for image {name!r}")
        if self._open is None or self._open[0] != shard:
            self._open = (shard, ImageStore([self._urls[shard]]))
        return self._open[1].read(key)


def read_shards(patterns: Sequence[str], limit: int | None = None) -> tuple[list[Item], Images]:
    """Pairs of shards, each an image with one caption; pairs with a fault are left out.

    Raises:
        PairsiftError: no shard, or no readable pair in them.
    """
    found = find_shards(patterns)
    items = []
    for shard in found.shards:
        for pair in open_shard(shard):
            if pair.fault is None and pair.image and pair.caption and pair.caption.strip():
                items.append(Item(f"{shard.name}/{pair.key}", (pair.caption,)))
            if limit is not None and len(items) >= limit:
                return items, ShardImages(found.shards)
    if not items:
        raise PairsiftError(f"no readable pair in {', '.join(patterns)}")
    return items, ShardImages(found.shards)


def read_alt_text(path: str) -> list[str]:
    """Real alt texts of a table, longer than two characters, cut at 200.

    Raises:
        PairsiftError: the table has no column for them.
    """
    rows = read_rows(path)
    if not rows:
        raise PairsiftError(f"{path} holds no alt text")
    column = first_column(rows[0], ALT_TEXT_COLUMNS, path)
    return list(_usable(str(row[column] or "") for row in rows))


def _usable(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        text = text.strip()[:200]
        if len(text) > 2:
            yield text
