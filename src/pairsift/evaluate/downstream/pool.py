"""Make a noisy pool of pairs from images whose captions are known to be good.

==================  ==============================================================================
kind                what the caption of the pair is
==================  ==============================================================================
own                 a caption that people wrote for the image: the only clean kind
another_image       a caption of another image
alt_text            a real alt text of some web page
edited              an own caption with one attribute, number, object or person replaced
truncated           the beginning of an own caption
boilerplate         "click to view" and its like
file_name           P1020394.JPG and its like
near_duplicate      an own caption that is almost the same as another pair's: true but redundant
==================  ==============================================================================

Boilerplate and file names differ from those that `pairsift-tiny` was trained on. Edits and
truncations are made by the same functions, with other random draws.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.manifest import Difference, Manifest
from pairsift.sources.image_store import ImageStore
from pairsift.storage import Folder, join
from pairsift.teach import edits
from pairsift.teach.edits import Random
from pairsift.teach.items import Item
from pairsift.teach.lexicon import words

CLEAN = "own"
RATES: Mapping[str, float] = {
    CLEAN: 0.40,
    "another_image": 0.20,
    "alt_text": 0.10,
    "edited": 0.10,
    "truncated": 0.06,
    "boilerplate": 0.06,
    "file_name": 0.06,
    "near_duplicate": 0.02,
}
"""Default fraction of each kind."""

SHARDS = "pool"
LABELS = "labels.parquet"
MANIFEST = "pool.json"
IMAGES_A_SHARD = 500

_LABEL_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string()),
        pa.field("key", pa.string()),
        pa.field("uid", pa.string()),
        pa.field("image", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("clean", pa.bool_()),
    ]
)
_BOILERPLATE = (
    "click to view full size",
    "this image has an empty alt attribute",
    "product thumbnail 2",
    "no caption",
    "alt text goes here",
    "loading spinner",
    "subscribe to our newsletter",
    "advertisement",
    "featured post image",
    "photo gallery item",
    "zoom in",
    "previous next",
    "sold out",
    "video thumbnail",
    "cover photo",
    "pin it on pinterest",
    "profile picture",
    "related products you may like",
    "header background",
    "copyright 2015 all images belong to their owners",
)
# Swaps of these kinds make a sentence untrue but keep it fluent; the first three are tried first.
_EDITS = ("attribute", "count", "object", "person", "action")


@dataclass(frozen=True)
class PoolSettings:
    """Everything that decides a pool, besides images and captions.

    Attributes:
        rates: fraction of the pairs of each kind.
        rows: pairs per image.
        seed: of all random draws.
    """

    rates: Mapping[str, float] = field(default_factory=lambda: dict(RATES))
    rows: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.rates if kind not in RATES]
        if unknown:
            raise PairsiftError(f"unknown kind {unknown[0]!r}; choose from {', '.join(RATES)}")
        if abs(sum(self.rates.values()) - 1) > 1e-6 or min(self.rates.values()) < 0:
            raise PairsiftError(f"rates of a pool must add up to 1, not {self.rates}")


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pair of a pool.

    Attributes:
        image: index of the item that has the image.
        kind: what was made; if an edit is not possible, another kind than requested.
    """

    image: int
    kind: str
    caption: str


class PoolMaker:
    """Draws the rows of a pool.

    Args:
        items: images with their own captions.
        alt_texts: real alt texts; each is used once, as long as there are enough.

    Raises:
        PairsiftError: the material for a requested kind is missing.
    """

    def __init__(
        self, items: Sequence[Item], alt_texts: Sequence[str], settings: PoolSettings
    ) -> None:
        self.items, self.settings = items, settings
        if settings.rates.get("alt_text") and not alt_texts:
            raise PairsiftError("the pool's alt_text pairs need real alt texts: give --alt-text")
        if settings.rates.get("another_image") and len(items) < 2:
            raise PairsiftError("captions of another image need at least two images")
        self._rng = np.random.default_rng(settings.seed)
        order = self._rng.permutation(len(alt_texts))
        self._alt_texts = [alt_texts[place] for place in order]
        self._alt_texts_used = 0

    def rows(self) -> Iterator[list[PoolRow]]:
        """Return the rows of each image in the order of the items; an image's rows are shuffled."""
        for image, kinds in enumerate(self._deal()):
            rows = self._rows_of(image, [str(kind) for kind in kinds])
            yield [rows[place] for place in self._rng.permutation(len(rows))]

    def _deal(self) -> np.ndarray:
        """Draw kinds, shape (images, rows), so that each occurs as often as its rate says."""
        slots = len(self.items) * self.settings.rows
        kinds = list(self.settings.rates)
        ends = np.round(np.cumsum(list(self.settings.rates.values())) * slots).astype(int)
        dealt = np.repeat(np.array(kinds, object), np.diff(ends, prepend=0))
        table = self._rng.permutation(dealt).reshape(len(self.items), self.settings.rows)
        self._settle_duplicates(table)
        return table

    def _settle_duplicates(self, table: np.ndarray) -> None:
        """Move near-duplicates to images that have an own caption to copy."""
        has_own = (table == CLEAN).any(1)
        homes = [
            (int(image), int(place))
            for image, place in zip(*np.nonzero((table != CLEAN) & has_own[:, None]), strict=True)
            if table[image, place] != "near_duplicate"
        ]
        self._rng.shuffle(homes)
        lonely = zip(*np.nonzero((table == "near_duplicate") & ~has_own[:, None]), strict=True)
        for (image, place), home in zip(lonely, homes, strict=False):
            table[image, place], table[home] = table[home], table[image, place]

    def _rows_of(self, image: int, kinds: Sequence[str]) -> list[PoolRow]:
        rng = self._rng
        own = self.items[image].captions
        unused = [own[place] for place in rng.permutation(len(own))]
        used: list[str] = []
        rows: list[PoolRow] = []
        # Own captions first, because near-duplicates are made from them.
        for kind in sorted(kinds, key=lambda kind: (kind != CLEAN, kind)):
            if kind == CLEAN and not unused:
                kind = "near_duplicate"  # more are requested than people wrote
            if kind == CLEAN:
                used.append(unused.pop())
                caption = edits.restyle(used[-1], rng)
            elif kind == "near_duplicate":
                caption = near_duplicate(edits.pick(used or own, rng), rng)
            else:
                kind, caption = self._noise(image, kind)
            rows.append(PoolRow(image, kind, caption))
        return rows

    def _noise(self, image: int, kind: str) -> tuple[str, str]:
        rng = self._rng
        if kind == "alt_text":
            text = self._alt_texts[self._alt_texts_used % len(self._alt_texts)]
            self._alt_texts_used += 1
            return kind, text
        if kind == "boilerplate":
            text = edits.pick(_BOILERPLATE, rng)
            return kind, text.capitalize() if rng.random() < 0.5 else text
        if kind == "file_name":
            return kind, file_name(self._of_another(image), rng)
        if kind == "truncated":
            return kind, edits.corrupt(edits.pick(self.items[image].captions, rng), kind, rng)[0]
        if kind == "edited":
            edited = self._edited(image)
            if edited is not None:
                return kind, edited
        return "another_image", edits.restyle(self._of_another(image), rng)

    def _of_another(self, image: int) -> str:
        other = int(self._rng.integers(len(self.items) - 1)) if len(self.items) > 1 else image
        return edits.pick(self.items[other + (other >= image)].captions, self._rng)

    def _edited(self, image: int) -> str | None:
        """Return an own caption made untrue by one word; None if no word can be swapped."""
        rng, own = self._rng, self.items[image].captions
        said = {word for text in own for word in words(text)}
        main = [_EDITS[place] for place in rng.permutation(3)]
        for kind in (*main, *_EDITS[3:]):
            for place in rng.permutation(len(own)):
                wrong = edits.swap(own[place], kind, said, rng)
                if wrong is not None:
                    return edits.restyle(wrong, rng)
        return None


def near_duplicate(text: str, rng: Random) -> str:
    """Return a caption that differs only in an article, capitals or a full stop."""
    parts = text.split()
    articles = [place for place, part in enumerate(parts) if part.lower() in ("a", "an", "the")]
    if articles:
        place = articles[int(rng.integers(len(articles)))]
        if parts[place].lower() == "the":
            parts[place] = "an" if parts[place + 1 :] and parts[place + 1][0] in "aeiou" else "a"
        else:
            parts[place] = "the"
    return edits.restyle(" ".join(parts), rng)


def file_name(text: str, rng: Random) -> str:
    """Return a file name as cameras or web pages make it; some contain words of `text`."""
    number = int(rng.integers(1000, 999999))
    start = words(text)[: int(rng.integers(1, 4))] or ["photo"]
    forms = (
        f"P{number:07d}.JPG",
        f"DSCN{number % 10000:04d}.jpg",
        f"20{10 + number % 12}{1 + number % 12:02d}{1 + number % 28:02d}_{number:06d}.jpg",
        f"{'-'.join(start)}-{number % 1000}.jpeg",
        f"{''.join(word.capitalize() for word in start)}{number % 100}.png",
        f"thumb_{number}.webp",
        f"WhatsApp-Image-{number}",
    )
    return edits.pick(forms, rng)


def build_pool(
    items: Sequence[Item],
    images: ImageStore,
    alt_texts: Sequence[str],
    out: str,
    settings: PoolSettings,
) -> dict[str, Any]:
    """Write the pool's shards to `out`/pool and its labels beside them, or find them there.

    Shards are ordinary webdataset tars (`KEY.jpg`, `KEY.txt`, `KEY.json` with a uid). After a kill,
    another call writes what is missing.

    Returns:
        the content of `out`/pool.json: settings, digest of the sources, images, pairs and counts by
        kind.

    Raises:
        PairsiftError: another pool is in `out`.
    """
    folder, shards = Folder(out), Folder(join(out, SHARDS))
    shards.create()
    folder.remove_leftovers()
    shards.remove_leftovers()
    wanted = {**asdict(settings), "source": _digest(items, alt_texts)}

    def refusal(there: Mapping[str, Any], found: list[Difference]) -> str:
        names = ", ".join(each.field for each in found)
        return (
            f"{out} holds a pool made with other options ({names} differ); choose another --out, "
            "or "
            "continue with the options it was begun with"
        )

    # Written first, so that an interrupted run can only be resumed with the same settings.
    begun = Manifest(folder, MANIFEST, wanted, refusal)
    begun.take()
    known = begun.read() or {}
    if "kinds" in known:
        return known
    labels: list[dict[str, Any]] = []
    block: list[list[PoolRow]] = []
    there = shards.names()
    number = 0
    for rows in PoolMaker(items, alt_texts, settings).rows():
        block.append(rows)
        if len(block) == IMAGES_A_SHARD or rows[0].image == len(items) - 1:
            name = f"{number:05d}"
            labels += _labels(name, block, items)
            if f"{name}.tar" not in there:
                with shards.atomic(f"{name}.tar") as file:
                    _write_shard(file, block, items, images)
            block, number = [], number + 1
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(labels, _LABEL_SCHEMA), buffer)
    folder.write(LABELS, buffer.getvalue())
    kinds = Counter(label["kind"] for label in labels)
    manifest = {
        **wanted,
        "images": len(items),
        "pairs": len(labels),
        "kinds": {kind: kinds[kind] for kind in RATES if kinds[kind]},
    }
    folder.write(MANIFEST, _json(manifest))  # only a complete pool has counts
    return manifest


def read_manifest(out: str) -> dict[str, Any] | None:
    """Return the manifest of the pool in `out`; None if there is none."""
    try:
        manifest: dict[str, Any] = json.loads(Folder(out).read(MANIFEST))
    except FileNotFoundError:
        return None
    return manifest


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _key(row: PoolRow, place: int) -> str:
    return f"{row.image:06d}-{place}"


def _uid(key: str, caption: str) -> str:
    return hashlib.md5(f"{key}\n{caption}".encode(), usedforsecurity=False).hexdigest()


def _labels(
    shard: str, block: Sequence[Sequence[PoolRow]], items: Sequence[Item]
) -> Iterator[dict[str, Any]]:
    for rows in block:
        for place, row in enumerate(rows):
            key = _key(row, place)
            yield {
                "shard": shard,
                "key": key,
                "uid": _uid(key, row.caption),
                "image": items[row.image].image,
                "kind": row.kind,
                "clean": row.kind == CLEAN,
            }


def _write_shard(
    file: IO[bytes],
    block: Sequence[Sequence[PoolRow]],
    items: Sequence[Item],
    images: ImageStore,
) -> None:
    with tarfile.open(fileobj=file, mode="w") as tar:
        for rows in block:
            name = items[rows[0].image].image
            content = images.read(name)
            suffix = name.rsplit(".", 1)[-1].lower() if "." in name else "jpg"
            for place, row in enumerate(rows):
                key = _key(row, place)
                fields = {"key": key, "uid": _uid(key, row.caption), "caption": row.caption}
                for extension, data in (
                    (suffix, content),
                    ("txt", row.caption.encode()),
                    ("json", json.dumps(fields).encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def _digest(items: Sequence[Item], alt_texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.image, *item.captions]).encode())
    digest.update(json.dumps(list(alt_texts)).encode())
    return f"sha256:{digest.hexdigest()[:16]}"
