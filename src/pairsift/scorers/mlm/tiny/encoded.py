"""Cache encoded images and captions, so that repeated ones are encoded once."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from pairsift.scorers.mlm.sharing import order_by_key
from pairsift.scorers.mlm.tiny.captions import pad
from pairsift.scorers.mlm.tiny.inputs import CaptionTokens
from pairsift.scorers.transfer import to_device

KEPT = 4
"""Batches whose encoded images (0.14 MB each) and captions (27 kB each) are in the cache: as many
as a cascade gathers, unless the user asks for larger batches."""

Item = TypeVar("Item")


class _Remembered(abc.ABC, Generic[Item]):
    """Encodes the distinct items of a batch and caches the most recent ones.

    Args:
        device: device on which items are encoded.
        batch_size: items of a batch; `KEPT` times as many are cached, or all of a larger batch.

    Attributes:
        step: items encoded at a time.
        most: items cached.
    """

    step: int

    def __init__(self, device: torch.device, batch_size: int) -> None:
        self.device, self.most = device, KEPT * batch_size
        self._kept: dict[Hashable, Tensor] = {}  # the most recent ones are last

    @abc.abstractmethod
    def _key(self, item: Item) -> Hashable:
        """Return a key that is the same for equal items."""

    @abc.abstractmethod
    def _encode(self, items: Sequence[Item]) -> Tensor:
        """Encode items (B) as (B, ...)."""

    def __call__(self, items: Sequence[Item]) -> tuple[Tensor, list[int]]:
        """Return the distinct items, encoded (D, ...), and the index of each item among them."""
        distinct: dict[Hashable, int] = {}
        place_of = [distinct.setdefault(self._key(item), len(distinct)) for item in items]
        found = {place: self._kept.pop(key, None) for key, place in distinct.items()}
        first = {place: row for row, place in reversed(list(enumerate(place_of)))}
        new = [place for place, encoded in found.items() if encoded is None]
        for start in range(0, len(new), self.step):
            places = new[start : start + self.step]
            encoded = self._encode([items[first[place]] for place in places])
            # Cloned, because a view would keep its whole batch in memory.
            found |= {place: row.clone() for place, row in zip(places, encoded, strict=True)}
        rows = [row for row in found.values() if row is not None]
        self._kept |= dict(zip(distinct, rows, strict=True))
        for key in list(self._kept)[: -max(self.most, len(distinct))]:
            del self._kept[key]
        return torch.stack(rows), place_of

    def each(self, items: Sequence[Item]) -> Tensor:
        """Return every item encoded, (B, ...)."""
        encoded, place_of = self(items)
        return encoded[to_device(np.array(place_of), self.device)]

    def clear(self) -> None:
        """Empty the cache."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def order_by_image(images: Sequence[np.ndarray], costs: Sequence[int]) -> list[int]:
    """Places of pairs: those of one image together, and otherwise those of like cost."""
    return order_by_key(list(map(_digest, images)), costs)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.data, digest_size=16).digest()


class EncodedImages(_Remembered[np.ndarray]):
    """Images by their pixels. Captions of one image are mostly neighbours, so a small cache is
    enough.

    Args:
        encode: encodes uint8 pixels (B, S, S, 3) on the device as (B, ...).
    """

    step = 32

    def __init__(
        self, encode: Callable[[Tensor], Tensor], device: torch.device, batch_size: int
    ) -> None:
        super().__init__(device, batch_size)
        self.encode = encode

    def _key(self, item: np.ndarray) -> bytes:
        return _digest(item)

    def _encode(self, items: Sequence[np.ndarray]) -> Tensor:
        return self.encode(to_device(np.stack(items), self.device))


class CaptionsRead(_Remembered[CaptionTokens]):
    """Captions by the sentence encoder's tokens.

    Some captions are repeated, and the stages of a cascade encode the same ones.

    Args:
        encode: encodes token ids and mask (B, S) on the device as (B, ...).
    """

    step = 64

    def __init__(
        self, encode: Callable[[Tensor, Tensor], Tensor], device: torch.device, batch_size: int
    ) -> None:
        super().__init__(device, batch_size)
        self.encode = encode

    def _key(self, item: CaptionTokens) -> tuple[int, ...]:
        return tuple(item.sentence_ids)

    def _encode(self, items: Sequence[CaptionTokens]) -> Tensor:
        ids, mask = pad([item.sentence_ids for item in items])
        return self.encode(to_device(ids, self.device), to_device(mask, self.device))
