"""The cached inputs of training and evaluation: images' features and their graded captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS
from pairsift.scorers.mlm.tiny.captions import collate
from pairsift.scorers.mlm.tiny.config import GRID_SIDE
from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer, CaptionTokens
from pairsift.scorers.mlm.tiny.model import TinyModel
from torch import Tensor


@dataclass
class ImageParts:
    """The frozen encoder's features of N images; see `TinyModel.assemble`.

    For training images, `words` and `meaning` are the held-out predictions of `priors.py`.
    """

    grid: np.ndarray
    words: Tensor
    chances: Tensor
    meaning: Tensor

    @classmethod
    def load(cls, cache: Path, name: str, model: TinyModel) -> ImageParts:
        priors = np.load(cache / "priors.npz")
        if name == "dev":
            meaning = own_meaning(model, np.load(cache / "dev.middle.npy", mmap_mode="r"))
        else:
            meaning = torch.from_numpy(priors[f"{name}_meaning"]).float()
        pooled = torch.from_numpy(np.load(cache / f"{name}.pooled.npy")).float()
        with torch.no_grad():
            chances = model.encoder.classifier(pooled[:, : FEATURE_WIDTHS[-1]]).softmax(-1)
        return cls(
            grid=np.load(cache / f"{name}.grid.npy", mmap_mode="r"),
            words=torch.from_numpy(priors[f"{name}_words"]).float(),
            chances=chances,
            meaning=meaning,
        )

    def __getitem__(self, rows: np.ndarray) -> ImageParts:
        at = torch.from_numpy(rows)
        grid = np.stack([self.grid[row] for row in rows]).astype(np.float32)
        return ImageParts(grid, self.words[at], self.chances[at], self.meaning[at])

    def mirrored(self, mirror: np.ndarray) -> ImageParts:
        """Return a copy in which the grids of the images chosen by `mirror` (N,) bool are
        mirrored.
        """
        square = self.grid.reshape(len(mirror), GRID_SIDE, GRID_SIDE, -1)[:, :, ::-1]
        grid = np.where(mirror[:, None, None], square.reshape(self.grid.shape), self.grid)
        return ImageParts(grid, self.words, self.chances, self.meaning)

    def encode(self, model: TinyModel) -> Tensor:
        """Return encoded images (N, n, d)."""
        return model.assemble(torch.from_numpy(self.grid), self.words, self.chances, self.meaning)


@dataclass
class Split:
    """Images and their graded captions; `rows_of[i]` are the rows of image i's captions."""

    images: ImageParts
    rows_of: list[np.ndarray]
    image: np.ndarray
    kind: np.ndarray
    targets: np.ndarray
    source: np.ndarray
    captions: list[str]

    @classmethod
    def load(cls, cache: Path, name: str, model: TinyModel) -> Split:
        table = pq.read_table(cache / f"{name}.captions.parquet")
        image = table["image"].to_numpy()
        images = ImageParts.load(cache, name, model)
        order = np.argsort(image, kind="stable")
        return cls(
            images=images,
            rows_of=np.split(order, np.searchsorted(image[order], np.arange(1, len(images.words)))),
            image=image,
            kind=np.array(table["kind"].to_pylist()),
            targets=np.stack([table[m].to_numpy() for m in METRICS], 1),
            source=table["source"].to_numpy(),
            captions=table["caption"].to_pylist(),
        )

    @cached_property
    def is_edit(self) -> np.ndarray:
        """(rows,) bool: whether one thing in a caption of the image was changed or added."""
        return np.char.startswith(self.kind, "swap_") | np.char.startswith(self.kind, "detail_")


@torch.no_grad()
def own_meaning(model: TinyModel, middle: np.ndarray) -> Tensor:
    """Return the model's own prediction (N, 384), from stride-16 maps (N, 120, h, w)."""
    starts = range(0, len(middle), 50)
    return model.foretell(torch.tensor(middle[at : at + 50]).float() for at in starts)


@torch.no_grad()
def sentence_meanings(model: TinyModel, packs: list[list[CaptionTokens]]) -> Tensor:
    """Return (packs, captions, 384) from the frozen sentence encoder."""
    flat = [caption for captions in packs for caption in captions]
    order = sorted(range(len(flat)), key=lambda index: len(flat[index].sentence_ids))
    meaning = torch.zeros(len(flat), model.config.meaning)
    for start in range(0, len(flat), 64):
        rows = order[start : start + 64]
        captions = collate([flat[row] for row in rows])
        meaning[rows] = model.caption_meaning(captions.sentence_ids, captions.sentence_mask)
    return meaning.view(len(packs), -1, model.config.meaning)


def caption_tokenizer(cache: Path, model: TinyModel) -> CaptionTokenizer:
    return CaptionTokenizer(cache, model.config.max_caption_tokens)
