"""Captions of one image, read behind the part of their prompts that they share.

The image comes first in a prompt, so captions of one image begin alike. That beginning is read
once; what is left of each caption stands behind it with the metrics' suffixes, as several metrics
of one caption do.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pairsift.scorers.mlm.packing import Layout
from pairsift.scorers.mlm.trie import common_prefix

# Longer blocks are read caption by caption: a packed one needs a mask of its length squared.
_LONGEST_PACKED = 1024


class _Inputs(Protocol):
    """What is needed of a preprocessed pair; see :class:`pairsift.scorers.mlm.scorer.MLMInputs`."""

    @property
    def image(self) -> Mapping[str, np.ndarray]: ...
    @property
    def image_key(self) -> Hashable: ...
    @property
    def prefix(self) -> np.ndarray: ...
    @property
    def suffixes(self) -> tuple[np.ndarray, ...]: ...


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs of one image.

    Attributes:
        rows: their places in the batch.
        image: arrays for the model's image encoder.
        prefix: (P,) token ids that all their prompts begin with.
        suffixes: what follows, pair by pair and in each metric by metric.
    """

    rows: tuple[int, ...]
    image: Mapping[str, np.ndarray]
    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]


def group_by_image(inputs: Sequence[_Inputs]) -> dict[int, list[Group]]:
    """Return the groups of a batch by how many pairs they have."""
    rows_of: dict[Hashable, list[int]] = {}
    for row, pair in enumerate(inputs):
        rows_of.setdefault(pair.image_key, []).append(row)
    groups: dict[int, list[Group]] = {}
    for rows in rows_of.values():
        for group in _grouped(inputs, rows):
            groups.setdefault(len(group.rows), []).append(group)
    return groups


def each_alone(inputs: Sequence[_Inputs], rows: Sequence[int] | None = None) -> list[Group]:
    """Return a group for each pair.

    Args:
        rows: the pairs' places in the batch; None if they are the batch.
    """
    return [
        Group((row,), pair.image, pair.prefix, pair.suffixes)
        for row, pair in zip(rows or range(len(inputs)), inputs, strict=True)
    ]


def _grouped(inputs: Sequence[_Inputs], rows: list[int]) -> list[Group]:
    """One group of pairs of an image, or one for each where sharing would cost more."""
    pairs = [inputs[row] for row in rows]
    shared = common_prefix([pair.prefix.tolist() for pair in pairs])
    rest = sum(len(pair.prefix) - shared for pair in pairs)
    # What is left of a prefix is read again for each metric.
    if (len(rows) - 1) * shared <= (len(pairs[0].suffixes) - 1) * rest:
        return each_alone(pairs, rows)
    suffixes = tuple(
        np.concatenate([pair.prefix[shared:], suffix]) for pair in pairs for suffix in pair.suffixes
    )
    return [Group(tuple(rows), pairs[0].image, pairs[0].prefix[:shared], suffixes)]


def layout_of(groups: Sequence[Group], nodes: int, layout: Layout) -> Layout:
    """How groups of several pairs are read: in one pass, if that is not too long.

    Args:
        nodes: of the metrics' tries together.
        layout: of pairs that share nothing.
    """
    if len(groups[0].rows) == 1:
        return layout
    longest = max(sum(map(len, group.suffixes)) + nodes * len(group.rows) for group in groups)
    return "packed" if longest <= _LONGEST_PACKED else "looped"


def order_by_key(keys: Sequence[Hashable], costs: Sequence[int]) -> list[int]:
    """Return places of pairs: those of one key together, and otherwise those of like cost."""
    places_of: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places_of.setdefault(key, []).append(place)
    groups = [sorted(places, key=costs.__getitem__) for places in places_of.values()]
    groups.sort(key=lambda places: sum(costs[place] for place in places) / len(places))
    return [place for places in groups for place in places]


def image_key(arrays: Mapping[str, Any]) -> bytes:
    """A digest that is the same for equal images."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        if not isinstance(array, np.ndarray):  # lists of arrays, of a model's own processor
            digest.update(pickle.dumps((name, array)))
            continue
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
