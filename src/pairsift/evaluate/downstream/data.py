"""Read the pool and the test sets as features, captions and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.features import FeatureCache, Part, Sample, join_parts
from pairsift.evaluate.downstream.zeroshot import CaptionedImages, LabelledImages
from pairsift.image_formats import is_image_name
from pairsift.sources import Shard, ShardSet, files, open_shard
from pairsift.sources.columns import (
    IMAGE_BYTES_COLUMNS,
    IMAGE_NAME_COLUMNS,
    find_column,
    match_column,
)
from pairsift.sources.image_store import ImageStore
from pairsift.sources.tables import read_rows
from pairsift.teach.items import read_items

CLASS_COLUMNS = ("class_name", "class", "label")
KIND_UNKNOWN = "noise"


@dataclass(frozen=True, slots=True)
class Pool:
    """The pairs that filters select from; every array has one entry per pair.

    Attributes:
        places: (shard, key) of each pair.
        part: features and captions, in the same order.
        kinds: the kind of each pair, and `clean`: whether it is worth keeping; None without labels.
    """

    places: list[tuple[str, str]]
    part: Part
    kinds: NDArray[np.object_] | None = None
    clean: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.places)


def read_pool(shards: ShardSet, labels: str | None, cache: FeatureCache) -> Pool:
    """Read the features of all shards, and the labels.

    Raises:
        PairsiftError: a pair of the pool has no label, or a shard cannot be read.
    """
    places: list[tuple[str, str]] = []
    parts = []
    for shard in shards.shards:
        # The pool's path is part of the name, because a cache may serve several pools.
        digest = _digest([shard.url, shard.size, shard.version])
        part = cache.part(f"pool-{shard.name}-{digest}", partial(_samples, shard))
        parts.append(part)
        places += [(shard.name, key) for key in part.keys]
    pool = Pool(places, join_parts(parts))
    if not len(pool):
        raise PairsiftError(f"the pool below {shards.root} holds no pair")
    return pool if labels is None else _with_labels(pool, labels)


def _digest(facts: Sequence[Any]) -> str:
    """Return what stands in the name of a part: another digest is another part."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]


def _state(place: str) -> list[Any]:
    """Return the files of a place with their sizes and versions, so that a changed one counts."""
    url = files.normalise(place)
    entry = files.look_up(url)
    if entry is not None and not entry.is_folder:
        return [url, entry.size, entry.version]
    images = (each for each in files.walk(url) if is_image_name(each.url))
    return [url, sorted((each.url, each.size, each.version) for each in images)]


def _samples(shard: Shard) -> Iterator[Sample]:
    seen: set[str] = set()
    for pair in open_shard(shard):
        if pair.key not in seen:  # a later sample with the same key is never scored
            seen.add(pair.key)
            fit = pair.fault is None and pair.caption is not None
            yield Sample(pair.key, pair.caption or "", pair.image if fit else None)


def _with_labels(pool: Pool, path: str) -> Pool:
    rows = read_rows(path, ("key", "clean"))
    by_place: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        by_place[str(row.get("shard") or ""), str(row["key"])] = row
    found = [by_place.get(place) or by_place.get(("", place[1])) for place in pool.places]
    missing = [place for place, row in zip(pool.places, found, strict=True) if row is None]
    if missing:
        raise PairsiftError(
            f"{path} has no label for {len(missing):,} of {len(pool):,} pairs, for example key "
            f"{missing[0][1]} of shard {missing[0][0]}"
        )
    clean = np.array([_truth(row["clean"]) for row in found if row is not None], dtype=bool)
    kinds = np.array(
        [
            str(row.get("kind") or ("clean" if good else KIND_UNKNOWN))
            for row, good in zip(found, clean, strict=True)
            if row is not None
        ],
        dtype=object,
    )
    return Pool(pool.places, pool.part, kinds, clean)


def _truth(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes")


def read_retrieval(
    images: Sequence[str], captions: str, cache: FeatureCache
) -> tuple[CaptionedImages, Part]:
    """Read the retrieval set: all images that the captions file names.

    Raises:
        PairsiftError: there are none.
    """
    store = ImageStore(images)
    items = read_items(captions, store)
    digest = _digest([*map(_state, images), *(item.image for item in items)])
    part = cache.part(
        f"retrieval-{digest}",
        lambda: (Sample(item.image, "", store.read(item.image)) for item in items),
    )
    if (part.image < 0).any():
        unreadable = part.keys[int(np.argmin(part.image))]
        raise PairsiftError(f"{unreadable} of {', '.join(images)} is not a readable image")
    texts = [caption for item in items for caption in item.captions]
    number = np.repeat(np.arange(len(items)), [len(item.captions) for item in items])
    return CaptionedImages(part.features[part.image], texts, number), part


def read_classes(
    path: str, limit: int | None, seed: int, cache: FeatureCache
) -> tuple[LabelledImages, Part]:
    """Read a classification set from a table with image bytes and class names.

    Args:
        limit: at most this many images, drawn at random but always the same.

    Raises:
        PairsiftError: a column is missing.
    """
    name = path.rstrip("/").rsplit("/", 1)[-1].split(".")[0]
    digest = _digest([_state(path), limit, seed])
    part = cache.part(f"classes-{name}-{digest}", lambda: _class_samples(path, limit, seed))
    there = part.image >= 0
    classes = sorted(set(part.texts))
    labels = np.array([classes.index(text) for text in part.texts], np.int64)
    features = part.features[part.image[there]]
    return LabelledImages(name, features, labels[there], [_spoken(c) for c in classes]), part


def _class_samples(path: str, limit: int | None, seed: int) -> Iterator[Sample]:
    rows = read_rows(path, with_bytes=True)
    if not rows:
        raise PairsiftError(f"{path} holds no images")
    columns = list(rows[0])
    image = find_column(columns, IMAGE_BYTES_COLUMNS, path, "image")
    label = find_column(columns, CLASS_COLUMNS, path, "class")
    key = match_column([c for c in columns if c != image], IMAGE_NAME_COLUMNS, path)
    order = np.random.default_rng(seed).permutation(len(rows))[:limit]
    for place in np.sort(order):
        row = rows[place]
        content = row[image]
        if isinstance(content, dict):  # the form of Hugging Face datasets
            content = content.get("bytes")
        yield Sample(str(row[key]) if key else str(place), str(row[label]), content)


def _spoken(name: str) -> str:
    """Return a class name as it appears in a sentence."""
    return name.replace("_", " ").strip()
