"""Photographs of things that Flickr8k does not show, made of ImageNet class names.

The training photographs are of people, dogs and sport. The encoder knows 1000 classes, and the
model is told the likely ones in words; but on these photographs alone it would learn that a caption
about a coffee cup is always wrong. A named scene is a training photograph whose class chances
are replaced by those of a random class, with captions that name the class, a near one, or another:
it teaches that a caption which says what the encoder names is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edits import corrupt, detail_phrase, restyle
from teacher import detail_score, stem, understanding_score, words

FORMS = ("a photo of {}", "{}", "{}", "a picture of {}", "there is {}", "close up of {}")
TRUE = 80.0
UNCHECKED_DETAIL = 12.0  # points off for a detail that nothing confirms


@dataclass
class Scene:
    chances: Tensor  # (1000,)
    captions: list[str]
    targets: np.ndarray  # (captions, 4)
    text_row: np.ndarray  # class whose name's sentence embedding the caption has, or -1


class NamedScenes:
    """`names` and their sentence embeddings (1000, 384); captions to borrow details from."""

    def __init__(self, names: list[str], vectors: np.ndarray, borrowed: list[str]) -> None:
        self.names, self.borrowed = names, borrowed
        apart = vectors - vectors.mean(0)  # without what all of "a photo of a ..." share
        unit = apart / np.linalg.norm(apart, axis=1, keepdims=True)
        self.nearness = unit @ unit.T

    def sample(self, captions: int, rng: np.random.Generator) -> Scene:
        this = int(rng.integers(len(self.names)))
        near = np.argsort(-self.nearness[this])[1:30]
        chances = torch.full((len(self.names),), 1e-5)
        share = float(rng.uniform(0.25, 0.95))
        chances[this] = share
        for other, part in zip(
            rng.choice(near, 4, replace=False), (0.5, 0.25, 0.15, 0.1), strict=True
        ):
            chances[other] += (1 - share) * part * float(rng.uniform(0.3, 1))

        texts, targets, rows = [], [], []
        for number in range(captions):
            roll = number / captions
            if roll < 0.35:
                about, itm = this, TRUE
            elif roll < 0.55:
                about = int(rng.choice(near))
                itm = 5 + 65 * max(0.0, float(self.nearness[this, about]) - 0.25) / 0.75
            else:
                about = int(rng.integers(len(self.names)))
                itm = 5 + 65 * max(0.0, float(self.nearness[this, about]) - 0.25) / 0.75
            name = self.names[about]
            article = "an" if name[0] in "aeiou" else "a"
            form = int(rng.integers(len(FORMS)))
            text, row, ctq = FORMS[form].format(f"{article} {name}"), about, 80.0
            if roll > 0.85:  # a stranger's caption
                text, row, itm, ctq = str(rng.choice(self.borrowed)), -1, 8.0, 92.0
            elif rng.random() < 0.4:
                phrase = detail_phrase(str(rng.choice(self.borrowed)))
                if phrase is not None:
                    text, row, ctq = f"{text} {phrase}", -1, 90.0
                    itm = max(itm - UNCHECKED_DETAIL, 5.0)
            text = restyle(text, rng)
            if rng.random() < 0.08:
                text, kept = corrupt(text, "shuffled", rng)
                row, itm, ctq = -1, itm * kept, 15.0
            confirmed = {stem(w) for w in words(self.names[this])}
            texts.append(text)
            rows.append(row)
            targets.append(
                (itm, detail_score(text, confirmed, itm), ctq, understanding_score(text, {}, itm))
            )
        return Scene(chances, texts, np.array(targets, np.float32), np.array(rows))
