"""Images encoded once, whoever shares them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

KEPT_IMAGES = 256
"""Encoded images kept for their next caption, of 0.1 MB each."""


class EncodedImages:
    """Encodes the distinct images of a batch and remembers the last ones.

    Captions of one image mostly come as neighbours, so that a few images are enough.

    Args:
        encode: uint8 pixels (B, S, S, 3) on the device to (B, ...).
        step: images encoded at a time.
    """

    def __init__(
        self, encode: Callable[[Tensor], Tensor], device: torch.device, step: int = 32
    ) -> None:
        self.encode, self.device, self.step = encode, device, step
        self._kept: dict[bytes, Tensor] = {}  # latest last

    def __call__(self, pixels: Sequence[np.ndarray]) -> tuple[Tensor, list[int]]:
        """Return the distinct images (D, ...) and which of them each pair has."""
        distinct: dict[bytes, int] = {}
        image_of = [
            distinct.setdefault(hashlib.blake2b(image.data, digest_size=16).digest(), len(distinct))
            for image in pixels
        ]
        found = {place: self._kept.pop(digest, None) for digest, place in distinct.items()}
        first = {place: row for row, place in reversed(list(enumerate(image_of)))}
        new = [place for place, image in found.items() if image is None]
        for start in range(0, len(new), self.step):
            places = new[start : start + self.step]
            stacked = np.stack([pixels[first[place]] for place in places])
            encoded = self.encode(torch.from_numpy(stacked).to(self.device))
            # Cloned: a view would keep its whole batch in memory.
            found |= {place: row.clone() for place, row in zip(places, encoded, strict=True)}
        images = [image for image in found.values() if image is not None]
        self._kept |= dict(zip(distinct, images, strict=True))
        for digest in list(self._kept)[:-KEPT_IMAGES]:
            del self._kept[digest]
        return torch.stack(images), image_of

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
