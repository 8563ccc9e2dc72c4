"""Two of the four targets that `pairsift-tiny` was trained with.

`itm` and `ctq` are those of `pairsift teach reference` (`pairsift.teach.reference` says what they
measure). The other two differ from it:

`odf`  The same, but words that an edit put in wrongly count fully against the caption.
`su`   How far the caption goes beyond naming visible things: actions, relations, places, named or
       rare things, counted and weighted by `itm`. A word-list heuristic; it does not verify facts.
"""

from __future__ import annotations

import re

import numpy as np
from pairsift.teach.lexicon import content_words, stem, words

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


def odf_target(
    text: str, confirmed: frozenset[str], itm: float, wrong: frozenset[str] = frozenset()
) -> float:
    """Compute the `odf` target.

    confirmed: stems of all words in the image's (other) own captions; wrong: words known to be
    untrue, since an edit put them in.
    """
    points = 0.0
    for word in set(content_words(text)):
        belief = 1.0 if stem(word) in confirmed else 0.75 * itm / 100
        belief = 0.0 if word in wrong else belief
        points += belief - 0.6 * (1 - belief)
    return float(np.clip(100.0 * points / 8.0, 0.0, 100.0))


def su_target(text: str, frequency: dict[str, float], itm: float) -> float:
    """Compute the `su` target. `frequency`: fraction of training captions that contain
    each word.
    """
    said = content_words(text)
    actions = sum(bool(ACTIONS.match(w)) and w not in NOT_ACTIONS for w in set(said))
    relations = sum(w in RELATIONS for w in set(words(text)))
    named = len(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", text))
    rare = sum(frequency.get(w, 0.0) < 5e-4 for w in set(said))
    points = 15.0 + 16 * min(actions, 2) + 10 * min(relations, 2) + 9 * min(rare + named, 4)
    return float(np.clip(points, 0, 100) * (0.15 + 0.85 * itm / 100))
