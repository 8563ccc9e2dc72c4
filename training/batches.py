"""Draw the packs of a training step: photographs, stamps and named scenes with their captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.captions import Packed, pack
from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer, CaptionTokens
from pairsift.teach import edits
from pairsift.teach.reference import ORDER
from torch import Tensor

from data import ImageParts, Split
from named_things import NamedThings

CAPTIONS = 16
"""Captions of an image in one pack."""
OWN = 4
"""Of these, how many are the image's own."""
EDIT_WEIGHT = 3.0
"""How much likelier a caption with one thing changed comes into a pack than another."""
ORDERS = 2
"""Captions of a pack that come a second time, with an order to the judge."""
SHARES = {"flickr": 0.6, "coco": 0.1, "stamps": 0.17, "scenes": 0.13}
"""Of the packs."""
SCENE_NOISE = 0.7
"""Length of the noise on a named scene's meaning, whose own length is 1."""


@dataclass
class Batch:
    """B packs of C = `CAPTIONS` captions."""

    images: ImageParts
    packed: Packed
    tokens: list[list[CaptionTokens]]
    targets: Tensor  # (B, C, M)
    own: Tensor  # (B, C) bool: whether the caption belongs to this image
    made_from: Tensor  # (B, C) position in the pack of the caption it was edited from, or -1
    ordered: (
        Tensor  # (B, C) position of the same caption without its instruction to the model, or -1
    )


@dataclass
class _Row:
    parts: ImageParts
    captions: list[str]
    targets: np.ndarray
    own: np.ndarray
    made_from: np.ndarray
    ordered: np.ndarray = field(default_factory=lambda: np.full(CAPTIONS, -1))


class Batches:
    """Endless batches. `stamps` and `scenes` are named things; scenes have no pictures."""

    def __init__(
        self,
        flickr: Split,
        coco: Split,
        stamps: tuple[ImageParts, NamedThings],
        scenes: tuple[np.ndarray, NamedThings],
        tokenizer: CaptionTokenizer,
        rng: np.random.Generator,
    ) -> None:
        self.flickr, self.coco, self.stamps, self.scenes = flickr, coco, stamps, scenes
        self.tokenizer, self.rng = tokenizer, rng
        self.turns = {
            "flickr": self._endless(len(flickr.rows_of)),
            "coco": self._endless(len(coco.rows_of)),
            "stamps": self._endless(len(stamps[0].words)),
        }

    def _endless(self, count: int) -> Iterator[int]:
        while True:
            yield from self.rng.permutation(count).tolist()

    def draw(self, size: int) -> Batch:
        kinds = self.rng.choice(list(SHARES), size, p=list(SHARES.values()))
        rows = [self._with_orders(self._row(str(kind))) for kind in kinds]
        tokens = [[self.tokenizer(text) for text in row.captions] for row in rows]
        parts = ImageParts(
            np.concatenate([row.parts.grid for row in rows]),
            *(
                torch.cat([getattr(row.parts, name) for row in rows])
                for name in ("words", "chances", "meaning")
            ),
        )
        return Batch(
            parts.mirrored(self.rng.random(size) < 0.5),
            pack(tokens),
            tokens,
            torch.from_numpy(np.stack([row.targets for row in rows])),
            torch.from_numpy(np.stack([row.own for row in rows])),
            torch.from_numpy(np.stack([row.made_from for row in rows])),
            torch.from_numpy(np.stack([row.ordered for row in rows])),
        )

    def _with_orders(self, row: _Row) -> _Row:
        """Replace some captions by others of the pack with an instruction, which changes only
        `ctq`.

        A caption from which an edit was made is never replaced; these come first.
        """
        rng, ctq = self.rng, list(METRICS).index("ctq")
        places = rng.choice(np.arange(OWN, CAPTIONS), ORDERS, replace=False)
        rest = np.setdiff1d(np.arange(CAPTIONS), places)
        for place, plain in zip(places, rng.choice(rest, ORDERS, replace=False), strict=True):
            row.captions[place] = edits.with_order(row.captions[plain], rng)
            row.targets[place] = row.targets[plain]
            row.targets[place, ctq] = min(row.targets[plain, ctq], ORDER)
            row.own[place], row.made_from[place], row.ordered[place] = False, -1, plain
        return row

    def _row(self, kind: str) -> _Row:
        if kind == "flickr":
            return self._graded(self.flickr, next(self.turns["flickr"]))
        if kind == "coco":
            return self._graded(self.coco, next(self.turns["coco"]))
        if kind == "stamps":
            images, things = self.stamps
            this = next(self.turns["stamps"])
            # The views of a stamp are used in turn with the same phrases.
            made = things.pack(this % len(things.phrases), CAPTIONS, self.rng)
            parts = images[np.array([this])]
        else:
            parts, made = self._scene()
        nothing = np.full(CAPTIONS, -1)
        return _Row(parts, made.captions, made.targets, np.zeros(CAPTIONS, bool), nothing)

    def _scene(self):
        vectors, things = self.scenes
        this = int(self.rng.integers(len(things.phrases)))
        host = self.flickr.images[self.rng.integers(len(self.flickr.rows_of), size=1)]
        noise = self.rng.normal(size=vectors.shape[1]).astype(np.float32)
        noise *= SCENE_NOISE / np.linalg.norm(noise)
        meaning = vectors[this] / np.linalg.norm(vectors[this]) + noise
        chances = torch.from_numpy(things.chances(this, self.rng))[None]
        parts = ImageParts(host.grid, host.words, chances, torch.from_numpy(meaning)[None].float())
        return parts, things.pack(this, CAPTIONS, self.rng)

    def _graded(self, split: Split, image: int) -> _Row:
        rng, rows = self.rng, split.rows_of[image]
        kinds = split.kind[rows]
        own, others = rows[kinds == "own"], rows[kinds != "own"]
        count = CAPTIONS - OWN
        weights = np.where(split.is_edit[others], EDIT_WEIGHT, 1.0)
        chosen = rng.choice(others, count, replace=len(others) < count, p=weights / weights.sum())
        # An edit is trained together with its source, so sources come before other own captions.
        wanted = np.bincount(split.source[chosen][split.source[chosen] >= 0], minlength=len(own))
        keep = np.argsort(-(wanted + rng.random(len(own))))[:OWN]
        place = np.full(len(own) + 1, -1)
        place[keep] = np.arange(OWN)
        rows = np.concatenate([own[keep], chosen])
        return _Row(
            split.images[np.array([image])],
            [split.captions[row] for row in rows],
            split.targets[rows],
            split.kind[rows] == "own",
            np.concatenate([np.full(OWN, -1), place[split.source[chosen]]]),
        )
