"""The reference teacher: scores a caption against the captions that people wrote for the image.

Needs images with several known-good captions and a sentence encoder, no key and no money. What
each target measures, and what it does not:

`itm`  Nearness in meaning to the image's own captions (mean and maximum cosine, averaged). Blind to
       what none of the captions mentions, and to word swaps that the sentence encoder hardly
       feels; those are lowered by rule (`edits.PENALTY`).
`odf`  How many content words the caption has, each counted for the captions that confirm it and
       against where none does. A true detail that no reference mentions is half believed.
`ctq`  The text alone, from controlled corruption: known-clean captions high, each kind of damage at
       a fixed lower value. Says nothing about damage of other kinds.
`su`   How far the caption goes beyond naming visible things: actions, relations, places, named or
       rare things, counted and weighted by `itm`. A word-list heuristic; it does not verify facts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edits import STOPWORDS, words

ACTIONS = re.compile(r"^[a-z]{2,}ing$")
NOT_ACTIONS = {
    "thing",
    "ring",
    "king",
    "spring",
    "string",
    "wing",
    "building",
    "clothing",
    "during",
}
RELATIONS = frozenset(
    "while after before behind beside between against together during because trying preparing "
    "watching waiting competing celebrating performing towards toward".split()
)


def reference_similarity(caption: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(n, d) captions against (r, d) references, unit vectors: average of mean and best cosine."""
    cosine = caption @ references.T
    return 0.5 * (cosine.mean(-1) + cosine.max(-1))


@dataclass(frozen=True)
class Scale:
    """Similarity to points by a straight line: a random caption's median is 5, a true one's 85."""

    random_median: float
    true_median: float

    def __call__(self, similarity: np.ndarray) -> np.ndarray:
        share = (similarity - self.random_median) / (self.true_median - self.random_median)
        return np.clip(5.0 + 80.0 * share, 0.0, 100.0)


def stem(word: str) -> str:
    """Crude stem, enough to let "running" confirm "runs"."""
    for end in ("ing", "ies", "es", "ed", "s", "y"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            word = word[: -len(end)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def content_words(text: str) -> list[str]:
    return [w for w in words(text) if w not in STOPWORDS and len(w) > 1]


def detail_score(
    text: str, confirmed: set[str], itm: float, wrong: frozenset[str] = frozenset()
) -> float:
    """`odf` target.

    confirmed: stems of all words in the image's (other) own captions; wrong: words known to be
    untrue, since an edit put them in.
    """
    points = 0.0
    for word in set(content_words(text)):
        belief = 1.0 if stem(word) in confirmed else 0.75 * itm / 100
        belief = 0.0 if word in wrong else belief
        points += belief - 0.6 * (1 - belief)
    return float(np.clip(100.0 * points / 8.0, 0.0, 100.0))


def understanding_score(text: str, frequency: dict[str, float], itm: float) -> float:
    """`su` target. `frequency`: share of training captions that contain each word."""
    said = content_words(text)
    actions = sum(bool(ACTIONS.match(w)) and w not in NOT_ACTIONS for w in set(said))
    relations = sum(w in RELATIONS for w in set(words(text)))
    named = len(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", text))
    rare = sum(frequency.get(w, 0.0) < 5e-4 for w in set(said))
    points = 15.0 + 16 * min(actions, 2) + 10 * min(relations, 2) + 9 * min(rare + named, 4)
    return float(np.clip(points, 0, 100) * (0.15 + 0.85 * itm / 100))
