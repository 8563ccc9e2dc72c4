"""Captions for pictures of one named thing, by similarity of names: stamps, and ImageNet scenes.

Flickr8k's photographs show people, dogs and sport. With only these, the model learns that a caption
about a coffee cup is always wrong. So two other kinds of pictures get captions made from names. A
stamp is a real picture with one short caption. A named scene is a training photograph whose class
probabilities and meaning are replaced by those of a random ImageNet class: it teaches that a
caption is right if it says what the encoder detects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pairsift.teach.edits import append_detail, corrupt, detail_phrase, restyle
from pairsift.teach.lexicon import stems

from teacher import odf_target, su_target

FORMS = ("a photo of {}", "{}", "{}", "{}", "a picture of {}", "there is {}", "close up of {}")
TRUE = 80.0
UNCHECKED_DETAIL = 12.0  # points subtracted for a detail that nothing confirms


@dataclass
class Pack:
    """Captions of one picture and their targets (captions, 4)."""

    captions: list[str]
    targets: np.ndarray


class NamedThings:
    """`phrases` ("a frog"), their sentence embeddings (n, 384), captions to borrow details from."""

    def __init__(self, phrases: list[str], vectors: np.ndarray, borrowed: list[str]) -> None:
        self.phrases, self.borrowed = phrases, borrowed
        apart = vectors - vectors.mean(0)  # without the common part of "a photo of a ..."
        unit = apart / np.linalg.norm(apart, axis=1, keepdims=True)
        self.nearness = unit @ unit.T

    def near(self, this: int) -> np.ndarray:
        """Return the about 30 most similar things, nearest first."""
        return np.argsort(-self.nearness[this])[1:30]

    def pack(self, this: int, captions: int, rng: np.random.Generator) -> Pack:
        """Return captions: a third right, a fifth of similar things, the rest of other or unrelated
        things.
        """
        near, texts, targets = self.near(this), [], []
        confirmed = stems([self.phrases[this]])
        for number in range(captions):
            roll = number / captions
            if roll < 0.35:
                about = this
            elif roll < 0.55:
                about = int(rng.choice(near))
            else:
                about = int(rng.integers(len(self.phrases)))
            likeness = max(0.0, float(self.nearness[this, about]) - 0.25) / 0.75
            same = self.phrases[about] == self.phrases[this]
            itm, ctq = TRUE if same else 5 + 65 * likeness, 80.0
            text = str(rng.choice(FORMS)).format(self.phrases[about])
            if roll > 0.85:
                text, itm, ctq = str(rng.choice(self.borrowed)), 8.0, 92.0
            elif rng.random() < 0.4:
                phrase = detail_phrase(str(rng.choice(self.borrowed)))
                if phrase is not None:
                    text, ctq = append_detail(text, phrase), 90.0
                    itm = max(itm - UNCHECKED_DETAIL, 5.0)
            text = restyle(text, rng)
            if rng.random() < 0.08:
                text, kept = corrupt(text, "shuffled", rng)
                itm, ctq = itm * kept, 15.0
            texts.append(text)
            targets.append((itm, odf_target(text, confirmed, itm), ctq, su_target(text, {}, itm)))
        return Pack(texts, np.array(targets, np.float32))

    def chances(self, this: int, rng: np.random.Generator) -> np.ndarray:
        """Return class probabilities (n,) of an encoder that mostly sees this thing."""
        chances = np.full(len(self.phrases), 1e-5, np.float32)
        share = float(rng.uniform(0.25, 0.95))
        chances[this] = share
        others = rng.choice(self.near(this), 4, replace=False)
        for other, part in zip(others, (0.5, 0.25, 0.15, 0.1), strict=True):
            chances[other] += (1 - share) * part * float(rng.uniform(0.3, 1))
        return chances
