"""The reference teacher: scores a caption by comparing it with captions that people wrote.

It needs images with at least two known-good captions each, and a sentence encoder. It needs no key,
costs nothing, and annotates any number of pairs. What each target measures, and what it misses:

`itm`  The similarity of the caption to the image's own captions: the average of mean and maximum
       cosine, scaled linearly so that a random caption gets 5 and a true one 85. An own caption is
       compared with the others. It misses everything that no caption mentions, and nearly misses
       single wrong words, because sentence encoders hardly react to them. So for edits whose error
       is known, :data:`PENALTY` is subtracted. An instruction to the model changes nothing.

`odf`  How many details the caption gives, counted in content words. A word that the image's
       captions confirm counts fully. Another word counts half for the caption and half against it;
       more against it the worse the caption matches. Eight confirmed details give 100. True details
       that nobody mentioned count too little; a wrong relation between confirmed words is missed.

`ctq`  The text alone: captions by people get 92, and each kind of corruption a fixed lower value
       (:data:`pairsift.teach.edits.CORRUPTIONS`). Only these kinds of damage are known; the quality
       of a real alt text is estimated from its form (:func:`looks`).

`su`   Knowledge that the pixels alone do not give: names, dates, roles, family and friends,
       occasions and purposes. Word lists and capital letters detect it, and it is weighted by how
       well the caption matches. Facts are not verified: a wrong name counts as much as the right
       one. The `named` candidates are invented, because captions of photographs hold hardly any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.teach.candidates import Candidate
from pairsift.teach.edits import CORRUPTIONS
from pairsift.teach.embed import Embedder, Vectors
from pairsift.teach.items import Item
from pairsift.teach.lexicon import (
    DATES,
    OCCASIONS,
    RELATIVES,
    ROLES,
    STOPWORDS,
    content_words,
    stem,
    stems,
    words,
)
from pairsift.teach.records import Record

PENALTY = {
    "swap_object": 50.0,
    "swap_action": 40.0,
    "swap_person": 35.0,
    "detail_false": 35.0,
    "swap_attribute": 30.0,
    "swap_count": 30.0,
    "swap_relation": 25.0,
}
"""Points that a known error subtracts from the caption's `itm`."""

_COUNTED = frozenset(["one", "two", "three", "four", "five", "six", "seven", "several", "many"])

CLEAN, EDITED, BRIEF, VAGUE, ORDER, BOILERPLATE, NOISE = 92.0, 88.0, 75.0, 55.0, 25.0, 12.0, 5.0
"""`ctq` of text by people; of text with a word swapped or a detail added; and of hardly
any text.
"""

RANDOM_POINTS, TRUE_POINTS = 5.0, 85.0
OWN_AT_LEAST = 60.0
"""Least `itm` of a caption that a person wrote for the image, however unlike the others it is."""

_FULL_DETAIL = 8.0
_BLOCK = 256


def reference_similarity(
    captions: NDArray[np.float32], references: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the average of mean and maximum cosine with the references.

    Args:
        captions: unit vectors, shape (n, d).
        references: unit vectors of the image's captions, shape (r, d).

    Returns:
        shape (n,).
    """
    cosine = captions @ references.T
    similarity: NDArray[np.float32] = 0.5 * (cosine.mean(-1) + cosine.max(-1))
    return similarity


@dataclass(frozen=True, slots=True)
class Scale:
    """The linear scale from similarity to points.

    Attributes:
        random: median similarity of an image with another image's caption; it gets 5 points.
        true: median similarity of a caption with the others of its image; it gets 85 points.
    """

    random: float
    true: float

    def __call__(self, similarity: float) -> float:
        share = (similarity - self.random) / (self.true - self.random)
        return float(np.clip(RANDOM_POINTS + (TRUE_POINTS - RANDOM_POINTS) * share, 0, 100))


class ReferenceTeacher:
    """Scores candidates of images that have at least two captions each.

    Args:
        items: all images; the scale is fitted to them.
        embedder: the sentence encoder.

    Raises:
        PairsiftError: an image has only one caption, or captions of different images are as similar
            as captions of the same image, so that nothing can be learned.
    """

    def __init__(self, items: Sequence[Item], embedder: Embedder) -> None:
        lonely = [item.image for item in items if len(item.captions) < 2]
        if lonely:
            raise PairsiftError(
                f"{len(lonely):,} of {len(items):,} images have one caption only, for example "
                f"{lonely[0]}; the reference teacher needs at least two per image"
            )
        if len(items) < 2:
            raise PairsiftError("the reference teacher needs at least two images")
        self.items, self.embedder = items, embedder
        vectors = embedder([text for item in items for text in item.captions])
        ends = np.cumsum([len(item.captions) for item in items])
        self.references: list[Vectors] = np.split(vectors, ends[:-1])
        self.scale = self._fit_scale()

    @property
    def means(self) -> Vectors:
        """Unit mean of the caption vectors of every image, shape (n, d)."""
        return unit_means(self.references)

    @property
    def facts(self) -> dict[str, object]:
        """Return what the records' metadata says about this teacher."""
        return {
            "teacher": "reference",
            "embedder": self.embedder.name,
            "scale": {"random": self.scale.random, "true": self.scale.true},
        }

    def _fit_scale(self) -> Scale:
        count = len(self.items)
        chance = [
            float(reference_similarity(self.references[i - 1][:1], self.references[i])[0])
            for i in range(count)
        ]
        true = [float(reference_similarity(refs[:1], refs[1:])[0]) for refs in self.references]
        scale = Scale(float(np.median(chance)), float(np.median(true)))
        if scale.true - scale.random < 0.05:
            raise PairsiftError(
                f"captions of one image are hardly more alike ({scale.true:.2f}) than those of "
                f"different images ({scale.random:.2f}): are they captions of these images, and "
                f"does the embedder {self.embedder.name} know their language?"
            )
        return scale

    def annotate(self, candidates: Iterable[Candidate]) -> Iterator[Record]:
        """Return one record per candidate, in order."""
        block: list[Candidate] = []
        for candidate in candidates:
            block.append(candidate)
            if len(block) == _BLOCK:
                yield from self._annotate_block(block)
                block = []
        if block:
            yield from self._annotate_block(block)

    def _annotate_block(self, block: Sequence[Candidate]) -> Iterator[Record]:
        strangers = sorted({c.base for c in block if c.base is not None and c.source is None})
        vectors = dict(zip(strangers, self.embedder(strangers), strict=True)) if strangers else {}
        for candidate in block:
            itm = self._itm(candidate, vectors)
            known = self._confirmed(candidate)
            item = self.items[candidate.image]
            yield Record(
                item.image,
                candidate.caption,
                candidate.kind,
                candidate.source,
                {
                    "itm": round(itm, 2),
                    "odf": round(detail_score(_told(candidate), known, itm), 2),
                    "ctq": round(_quality(candidate), 2),
                    "su": round(understanding_score(_known(candidate), itm), 2),
                },
            )

    def _itm(self, candidate: Candidate, vectors: dict[str, Vectors]) -> float:
        references = self.references[candidate.image]
        if candidate.kind == "vague":
            return 50.0  # true of the image, but also of many others
        if candidate.base is None:
            return NOISE
        if candidate.source is not None:
            rest = np.delete(references, candidate.source, axis=0)
            own = references[candidate.source][None]
            itm = max(self.scale(float(reference_similarity(own, rest)[0])), OWN_AT_LEAST)
        else:
            vector = vectors[candidate.base][None]
            itm = self.scale(float(reference_similarity(vector, references)[0]))
        if candidate.kind in PENALTY:
            return max(itm - PENALTY[candidate.kind], 3.0)
        if candidate.kind == "detail_true":
            return min(itm + 4, 100.0)
        if candidate.kind == "brief":
            return max(itm - 12, 55.0)
        return itm * (0.5 + 0.5 * candidate.kept)

    def _confirmed(self, candidate: Candidate) -> frozenset[str]:
        """Return the stems that the image's other captions confirm."""
        captions = self.items[candidate.image].captions
        if candidate.source is None or candidate.kind == "detail_true":
            return stems(captions)
        return stems([text for n, text in enumerate(captions) if n != candidate.source])


def unit_means(groups: Sequence[Vectors]) -> Vectors:
    """Return the mean of every group of vectors at unit length, shape (len(groups), d)."""
    means: Vectors = np.stack([group.mean(0) for group in groups])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    np.divide(means, norms, out=means, where=norms > 0)
    return means


def detail_score(text: str, confirmed: frozenset[str], itm: float) -> float:
    """Compute the `odf` target.

    Args:
        confirmed: stems of the words in the image's captions.
        itm: how well the caption matches, 0..100; the weight of unconfirmed words.
    """
    belief = [
        1.0 if stem(word) in confirmed else 0.75 * itm / 100 for word in set(content_words(text))
    ]
    details = sum(b - 0.6 * (1 - b) for b in belief)
    return float(np.clip(100 * details / _FULL_DETAIL, 0, 100))


_CAPITALISED = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}")
_YEAR = re.compile(r"\b(1[89]|20)\d\d\b")


def understanding_score(text: str, itm: float) -> float:
    """Compute the `su` target. It is weighted by `itm`, because knowledge about another image does
    not count.
    """
    said = set(words(text))
    names = sum(word.lower() not in STOPWORDS | _COUNTED for word in _CAPITALISED.findall(text))
    dates = len(said & DATES) + len(_YEAR.findall(text))
    points = (
        10
        + 22 * min(names, 3)
        + 12 * min(dates, 1)
        + 18 * min(len(said & ROLES), 2)
        + 15 * min(len(said & RELATIVES), 2)
        + 15 * min(len(said & OCCASIONS), 2)
    )
    return float(min(points, 100) * (0.15 + 0.85 * itm / 100))


def looks(text: str) -> float:
    """Estimate `ctq` of unknown text, 3..75, from length, letters and function words."""
    said = words(text)
    tokens = text.split()
    letters = sum(c.isalpha() or c.isspace() for c in text) / max(len(text), 1)
    lower = sum(token.islower() for token in tokens) / max(len(tokens), 1)
    function = sum(word in STOPWORDS for word in said) / max(len(said), 1)
    points = 10 + 25 * min(len(said), 8) / 8 + 30 * max(0.0, letters - 0.6) / 0.4
    shape = 0.4 + 0.3 * lower + 0.6 * min(function, 0.4) / 0.4
    return float(np.clip(points * shape, 3, 75))


def _quality(candidate: Candidate) -> float:
    kind = candidate.kind
    if kind in CORRUPTIONS:
        return CORRUPTIONS[kind][0]
    if kind == "alt_text":
        return looks(candidate.caption)
    if kind == "named" or kind.startswith(("swap_", "detail_")):
        return EDITED
    fixed = {
        "brief": BRIEF,
        "vague": VAGUE,
        "order": ORDER,
        "boilerplate": BOILERPLATE,
        "file_name": NOISE,
    }
    return fixed.get(kind, CLEAN)


def _told(candidate: Candidate) -> str:
    """Return the part of a caption that describes the image; instructions and file names do not."""
    if candidate.kind in ("order", "named"):
        return candidate.base or ""
    return "" if candidate.kind in ("file_name", "boilerplate") else candidate.caption


def _known(candidate: Candidate) -> str:
    """Return the text in which knowledge is searched; a corruption adds capitals, not names."""
    if candidate.kind in CORRUPTIONS:
        return candidate.base or ""
    return candidate.caption if candidate.kind == "named" else _told(candidate)
