"""Batches of captions as `pairsift-tiny`'s tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairsift.scorers.mlm.tiny_inputs import CaptionTokens


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
            self.ids.to(device),
            self.mask.to(device),
            self.sentence_ids.to(device),
            self.sentence_mask.to(device),
        )


def collate(captions: Sequence[CaptionTokens]) -> Captions:
    """Pad a batch on the right."""
    ids, mask = pad([caption.ids for caption in captions])
    return Captions(ids, mask, *pad([caption.sentence_ids for caption in captions]))


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(B, longest) int64 ids, zero where there are none, and the bool mask of the real ones."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = True
    return ids, mask
