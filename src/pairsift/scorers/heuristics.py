"""Simple facts about a pair, and DataComp's basic filter made of them. No model, no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pairsift.languages import MODEL, likely_languages
from pairsift.scorers.base import Preparer, Scorer

VERSION = "2"
# "Basic filtering" of DataComp (arXiv 2304.14108): English captions of more than two words and
# five characters; images with a smaller side above 200 pixels and an aspect ratio below 3.
_MIN_WORDS = 3
_MIN_CHARACTERS = 6
_MIN_SIDE = 201
_MAX_ASPECT = 3.0

Facts = tuple[int, int, int, float, str | None, float]


def measure(image: Image.Image, caption: str) -> Facts:
    """Return words, characters, smaller side (pixels), aspect ratio, language, its probability."""
    width, height = image.size
    language, certainty = identify_language(caption)
    return (
        len(caption.split()),
        len(caption.strip()),
        min(width, height),
        max(width, height) / min(width, height),
        language,
        certainty,
    )


def identify_language(text: str) -> tuple[str | None, float]:
    """Return the ISO 639 code by lid.176 and its probability, or (None, nan)."""
    found = likely_languages(text)
    return found[0] if found else (None, float("nan"))


class HeuristicsScorer(Scorer):
    """Caption length, image size and language of a pair.

    Columns: ``caption_words``, ``caption_characters``, ``smaller_side`` (pixels),
    ``aspect_ratio`` (>= 1), ``language`` (ISO 639), ``language_score`` (0..1) and
    ``datacomp_basic`` (whether DataComp's basic filter keeps the pair).
    """

    name: ClassVar[str] = "heuristics"
    batch_size = 256

    def __init__(self) -> None:
        self.preparer = Preparer(measure)
        self.columns = (
            pa.field("caption_words", pa.int32()),
            pa.field("caption_characters", pa.int32()),
            pa.field("smaller_side", pa.int32()),
            pa.field("aspect_ratio", pa.float32()),
            pa.field("language", pa.string()),
            pa.field("language_score", pa.float32()),
            pa.field("datacomp_basic", pa.bool_()),
        )

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name, "scorer_version": VERSION, "language_model": MODEL}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        words, characters, side, aspect, language, certainty = (
            np.array(column) for column in zip(*inputs, strict=True)
        )
        basic = (
            (words >= _MIN_WORDS)
            & (characters >= _MIN_CHARACTERS)
            & (side >= _MIN_SIDE)
            & (aspect < _MAX_ASPECT)
            & (language == "en")
        )
        return {
            "caption_words": words,
            "caption_characters": characters,
            "smaller_side": side,
            "aspect_ratio": aspect,
            "language": language.astype(object),
            "language_score": certainty,
            "datacomp_basic": basic,
        }
