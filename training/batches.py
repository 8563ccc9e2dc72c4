"""Draws the packs of a training step: photographs with some of their captions, or named scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pairsift.scorers.mlm.tiny import Packed
from tokenizers import Tokenizer
from torch import Tensor

from data import Split, pack, tokenize
from named_scenes import NamedScenes

CAPTIONS = 16
"""Captions of an image in one pack."""
OWN = 3
"""Of these, how many are the image's own."""


@dataclass
class Batch:
    """B packs of C = `CAPTIONS` captions."""

    images: np.ndarray  # (B,) rows of the split
    mirror: np.ndarray  # (B,) bool
    chances: Tensor  # (B, 1000)
    packed: Packed
    targets: Tensor  # (B, C, M)
    own: Tensor  # (B, C) bool: a caption of this very image
    text_row: Tensor  # (B, C) row of its sentence embedding, or -1


class Batches:
    """Endless batches; `class_row`: row of class 0's name among the sentence embeddings."""

    def __init__(
        self,
        split: Split,
        scenes: NamedScenes,
        class_row: int,
        tokenizer: Tokenizer,
        limit: int,
        scene_share: float,
        rng: np.random.Generator,
    ) -> None:
        self.split, self.scenes, self.class_row = split, scenes, class_row
        self.tokenizer, self.limit, self.scene_share, self.rng = tokenizer, limit, scene_share, rng
        self.order: list[int] = []

    def draw(self, size: int) -> Batch:
        split, rng = self.split, self.rng
        while len(self.order) < size:
            self.order += rng.permutation(len(split.rows_of)).tolist()
        images = np.array([self.order.pop() for _ in range(size)])
        chances = split.chances[torch.from_numpy(images)].clone()
        ids, targets, own, text_row = [], [], [], []
        for place, image in enumerate(images):
            if rng.random() < self.scene_share:
                scene = self.scenes.sample(CAPTIONS, rng)
                chances[place] = scene.chances
                ids.append(tokenize(self.tokenizer, scene.captions, self.limit))
                targets.append(scene.targets)
                own.append(np.zeros(CAPTIONS, bool))
                rows = np.where(scene.text_row >= 0, scene.text_row + self.class_row, -1)
                text_row.append(rows)
                continue
            rows = split.rows_of[image]
            is_own = split.kind[rows] == "own"
            count, others = CAPTIONS - OWN, rows[~is_own]
            keep = rng.choice(rows[is_own], OWN, replace=False)
            rest = rng.choice(others, count, replace=len(others) < count)
            rows = np.concatenate([keep, rest])
            ids.append([split.ids[row] for row in rows])
            targets.append(split.targets[rows])
            own.append(split.kind[rows] == "own")
            text_row.append(split.text_row[rows])
        return Batch(
            images,
            rng.random(size) < 0.5,
            chances,
            pack(ids),
            torch.from_numpy(np.stack(targets)),
            torch.from_numpy(np.stack(own)),
            torch.from_numpy(np.stack(text_row)),
        )
