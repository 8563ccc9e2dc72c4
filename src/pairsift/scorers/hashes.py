"""Hashes of image and caption as columns, alone or together with any scorer.

See :mod:`pairsift.hashing` for what they are; `pairsift dedup` finds copies by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.hashing import (
    CAPTION,
    HASH_COLUMNS,
    HASH_FIELDS,
    PHASH,
    SHA,
    VERSION,
    hash_bytes,
    hash_caption,
    perceptual_hash,
)
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Columns, Prepared, Preparer, Scorer
from pairsift.scorers.wrapped import WrappedPreparer, Wrapper, looking

Hashes = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class _HashingPreparer(WrappedPreparer):
    """Preprocesses pairs for a scorer and also hashes them.

    Attributes:
        prepare: the scorer's preparer, which looks at the image if it can.
        again: decodes the image a second time to look at it, for a preparer that cannot.
    """

    again: Preparer | None

    def __call__(self, pair: Pair) -> Prepared:
        row = self.prepare(pair)
        if row.status is not Status.OK:
            return row
        phash = row.seen if self.again is None else self.again(pair).seen
        row.seen = None
        row.inputs = (
            row.inputs,
            (hash_bytes(pair.image or b""), phash, hash_caption(pair.caption or "")),
        )
        return row


def _nothing(image: Image.Image, caption: str) -> None:
    return None


def _hashing(prepare: Callable[[Pair], Prepared]) -> _HashingPreparer:
    if (seeing := looking(prepare, perceptual_hash)) is not None:
        return _HashingPreparer(seeing, None)
    return _HashingPreparer(prepare, Preparer(_nothing).looking(perceptual_hash))


def _columns(hashes: Sequence[Hashes]) -> dict[str, np.ndarray]:
    columns = zip(*hashes, strict=True)
    return {
        name: np.array(column, dtype=object)
        for name, column in zip((SHA, PHASH, CAPTION), columns, strict=True)
    }


class HashesScorer(Scorer):
    """The hashes of image and caption as the only columns.

    Columns: ``image_sha256`` (64 hexadecimal digits), ``image_phash`` (16; null for an image of
    nearly one colour) and ``caption_hash`` (32); see :mod:`pairsift.hashing`.
    """

    name: ClassVar[str] = "hashes"
    columns = HASH_FIELDS
    batch_size = 256

    def __init__(self) -> None:
        self.preparer = _hashing(Preparer(_nothing))

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name, "hashes": VERSION}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        return _columns([hashes for _, hashes in inputs])


class HashMarker(Wrapper):
    """A scorer with three more columns, the hashes of image and caption; its scores do not change.

    The image is decoded only once if the scorer's preparer is one of Pairsift's.

    Args:
        scorer: the scorer whose pairs are hashed.

    Raises:
        PairsiftError: the scorer already has a column with one of these names.

    Examples:
        >>> from pairsift import load_scorer
        >>> from pairsift.sources import find_shards, open_shard
        >>> scorer = HashMarker(load_scorer("heuristics"))
        >>> table = scorer.score(open_shard(find_shards("pool").shards[0]))
        >>> table.column_names[-3:]
        ['image_sha256', 'image_phash', 'caption_hash']
    """

    name: ClassVar[str] = "hash-marker"

    def __init__(self, scorer: Scorer) -> None:
        if taken := {field.name for field in scorer.columns} & set(HASH_COLUMNS):
            raise PairsiftError(
                f"scorer {scorer.name!r} already has columns named {', '.join(sorted(taken))}: "
                "leave out --hashes"
            )
        super().__init__(scorer)
        self.columns = (*scorer.columns, *HASH_FIELDS)
        self.preparer = _hashing(scorer.preparer)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {**self.scorer.fingerprint, "hashes": VERSION}

    def collate(self, inputs: Sequence[tuple[Any, Hashes]]) -> Any:
        columns = _columns([hashes for _, hashes in inputs])
        return self.scorer.collate(self.inner(inputs)), columns

    def start(self, collated: Any) -> Callable[[], Columns]:
        own, columns = collated
        fetch = self.scorer.start(own)
        return lambda: {**fetch(), **columns}
