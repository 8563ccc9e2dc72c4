"""What training and evaluation read from the cache: images' features and their graded captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS
from pairsift.scorers.mlm.tiny import GRID_SIDE, Packed, TinyModel
from torch import Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass
class Split:
    """One split. Arrays over images: grid, words, chances, meaning, rows_of; the rest over rows."""

    grid: np.ndarray
    words: Tensor
    chances: Tensor
    meaning: Tensor
    rows_of: list[np.ndarray]
    image: np.ndarray
    kind: np.ndarray
    targets: np.ndarray
    source: np.ndarray
    text_row: np.ndarray
    captions: list[str]
    ids: list[list[int]]

    @classmethod
    def load(cls, cache: Path, name: str, model: TinyModel, tokenizer: Tokenizer) -> Split:
        priors = np.load(cache / "priors.npz")
        pooled = torch.from_numpy(np.load(cache / f"{name}.pooled.npy"))
        with torch.no_grad():
            chances = model.encoder.classifier(pooled[:, : FEATURE_WIDTHS[-1]]).softmax(-1)
        table = pq.read_table(cache / f"{name}.captions.parquet")
        captions = table["caption"].to_pylist()
        image = table["image"].to_numpy()
        order = np.argsort(image, kind="stable")
        return cls(
            grid=np.load(cache / f"{name}.grid.npy", mmap_mode="r"),
            words=torch.from_numpy(priors[f"{name}_words"]).float(),
            chances=chances,
            meaning=torch.from_numpy(priors[f"{name}_meaning"]).float(),
            rows_of=np.split(order, np.searchsorted(image[order], np.arange(1, len(pooled)))),
            image=image,
            kind=np.array(table["kind"].to_pylist()),
            targets=np.stack([table[m].to_numpy() for m in METRICS], 1),
            source=table["source"].to_numpy(),
            text_row=table["text_row"].to_numpy(),
            captions=captions,
            ids=tokenize(tokenizer, captions, model.config.max_caption_tokens),
        )

    def encode(
        self,
        model: TinyModel,
        images: np.ndarray,
        mirror: np.ndarray | None = None,
        chances: Tensor | None = None,
    ) -> Tensor:
        """Encoded images (B, n, d), mirrored where asked, with other class chances if given."""
        grid = torch.from_numpy(np.stack([self.grid[i] for i in images]).astype(np.float32))
        if mirror is not None:
            square = grid.view(len(images), GRID_SIDE, GRID_SIDE, -1).flip(2).flatten(1, 2)
            grid = torch.where(torch.from_numpy(mirror)[:, None, None], square, grid)
        at = torch.from_numpy(images)
        chances = self.chances[at] if chances is None else chances
        return model.assemble(grid, self.words[at], chances, self.meaning[at])


def tokenize(tokenizer: Tokenizer, captions: list[str], limit: int) -> list[list[int]]:
    """Token ids as the scorer makes them."""
    encoded = tokenizer.encode_batch([c.strip() for c in captions], add_special_tokens=False)
    return [encoding.ids[:limit] for encoding in encoded]


def pack(packs: list[list[list[int]]]) -> Packed:
    """Token ids of each image's captions (same number for each) to one padded batch."""
    metrics = len(METRICS)
    length = max(sum(len(c) + metrics for c in captions) for captions in packs)
    ids = torch.zeros(len(packs), length, dtype=torch.long)
    positions, query, segment = ids.clone(), ids - 1, ids - 1
    for row, captions in enumerate(packs):
        at = 0
        for number, caption in enumerate(captions):
            text, end = slice(at, at + len(caption)), at + len(caption) + metrics
            ids[row, text] = torch.tensor(caption, dtype=torch.long)
            positions[row, text] = torch.arange(len(caption))
            positions[row, text.stop : end] = len(caption)
            query[row, text.stop : end] = torch.arange(metrics)
            segment[row, at:end] = number
            at = end
    return Packed(ids, positions, query, segment)
