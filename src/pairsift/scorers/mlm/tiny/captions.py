"""Batches of captions as tensors for `pairsift-tiny`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.inputs import CaptionTokens
from pairsift.scorers.transfer import to_device

_STEP = 8
"""Padded lengths are multiples of this, because PyTorch's CPU library compiles and keeps about
0.2 MB of code for each new shape of a product."""


@dataclass(frozen=True)
class Captions:
    """A batch of B captions, real tokens on the left.

    ids, mask: (B, T) int64 and bool, in the language model's vocabulary
    sentence_ids, sentence_mask: (B, S) int64 and bool, in the sentence encoder's
    """

    ids: Tensor
    mask: Tensor
    sentence_ids: Tensor
    sentence_mask: Tensor

    def __getitem__(self, rows: Any) -> Captions:
        return Captions(
            self.ids[rows], self.mask[rows], self.sentence_ids[rows], self.sentence_mask[rows]
        )

    def to(self, device: torch.device) -> Captions:
        return Captions(
            to_device(self.ids, device),
            to_device(self.mask, device),
            to_device(self.sentence_ids, device),
            to_device(self.sentence_mask, device),
        )


def collate(captions: Sequence[CaptionTokens]) -> Captions:
    """Pad a batch on the right."""
    ids, mask = pad([caption.ids for caption in captions])
    return Captions(ids, mask, *pad([caption.sentence_ids for caption in captions]))


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return (B, S) int64 ids, padded with zeros, and the bool mask of the real ones."""
    ids = torch.zeros(len(rows), _padded(max(map(len, rows))), dtype=torch.int64)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = True
    return ids, mask


def _padded(length: int) -> int:
    return -(-length // _STEP) * _STEP


@dataclass(frozen=True)
class Packed:
    """Captions of one image, concatenated after its tokens.

    ids, positions: (B, P) caption tokens (0 for a query or padding) and their positions
    query: (B, P) metric index of a query token, -1 elsewhere
    segment: (B, P) number of the caption that a token belongs to, -1 for padding
    """

    ids: Tensor
    positions: Tensor
    query: Tensor
    segment: Tensor

    def to(self, device: torch.device) -> Packed:
        return Packed(
            to_device(self.ids, device),
            to_device(self.positions, device),
            to_device(self.query, device),
            to_device(self.segment, device),
        )


def pack(images: Sequence[Sequence[CaptionTokens]]) -> Packed:
    """Arrange each image's captions (the same number for each) as one padded batch."""
    metrics = len(METRICS)
    length = max(sum(len(caption.ids) + metrics for caption in captions) for captions in images)
    ids = torch.zeros(len(images), _padded(length), dtype=torch.int64)
    positions, query, segment = ids.clone(), ids - 1, ids - 1
    for row, captions in enumerate(images):
        at = 0
        for number, caption in enumerate(captions):
            count = len(caption.ids)
            text, end = slice(at, at + count), at + count + metrics
            ids[row, text] = torch.tensor(caption.ids, dtype=torch.int64)
            positions[row, text] = torch.arange(count)
            positions[row, text.stop : end] = count
            query[row, text.stop : end] = torch.arange(metrics)
            segment[row, at:end] = number
            at = end
    return Packed(ids, positions, query, segment)


def share_images(image_of: Sequence[int], most: int = 16) -> dict[int, list[list[int]]]:
    """Group pairs of the same image, so that its tokens are computed once for several captions.

    `image_of` names each pair's image. Returns groups of pair positions by their size. Sizes are
    powers of two up to `most`, so that packs of similar size are batched together.
    """
    pairs: dict[int, list[int]] = {}
    for position, image in enumerate(image_of):
        pairs.setdefault(image, []).append(position)
    groups: dict[int, list[list[int]]] = {}
    for positions in pairs.values():
        while positions:
            size = min(most, 1 << (len(positions).bit_length() - 1))
            groups.setdefault(size, []).append(positions[:size])
            positions = positions[size:]
    return groups
