"""What people said about pairs, in the two forms that the literature uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pairsift.evaluate.statistics import Floats

ImageCaption = tuple[str, str]
"""An image's file name, and a caption."""


@dataclass(slots=True)
class Ratings:
    """How good people found captions; one row per judgment, so a pair may stand in several.

    Attributes:
        images, captions: of each judgment.
        ratings: higher is better; shape (n,), finite.
        given: scores that the file itself brings along, by column name; shape (n,), NaN is null.
        left_out: how many rows the protocol drops, by reason.
    """

    images: list[str]
    captions: list[str]
    ratings: Floats
    given: Mapping[str, Floats] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def pairs(self) -> Iterator[ImageCaption]:
        """Every pair that needs a score, repeats included."""
        yield from zip(self.images, self.captions, strict=True)

    def keep(self, rows: np.ndarray, reason: str) -> Ratings:
        """Only the rows where the mask `rows`, shape (n,), is true."""
        if rows.all():
            return self
        return Ratings(
            [image for image, kept in zip(self.images, rows, strict=True) if kept],
            [caption for caption, kept in zip(self.captions, rows, strict=True) if kept],
            self.ratings[rows],
            {name: values[rows] for name, values in self.given.items()},
            {**self.left_out, reason: int((~rows).sum())},
        )


@dataclass(slots=True)
class Preferences:
    """Which of two captions of one image people prefer.

    Attributes:
        images, first, second: file name of the image, and the two captions.
        preferred: 1 for the first, 0 for the second, 0.5 where votes are tied; shape (n,).
        categories: what kind of comparison each one is.
    """

    images: list[str]
    first: list[str]
    second: list[str]
    preferred: Floats
    categories: list[str]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def pairs(self) -> Iterator[ImageCaption]:
        """Every pair that needs a score, repeats included."""
        yield from zip(self.images, self.first, strict=True)
        yield from zip(self.images, self.second, strict=True)

    def keep(self, rows: np.ndarray, reason: str) -> Preferences:
        """Only the rows where the mask `rows`, shape (n,), is true."""
        if rows.all():
            return self

        def those(values: list[str]) -> list[str]:
            return [value for value, kept in zip(values, rows, strict=True) if kept]

        return Preferences(
            those(self.images),
            those(self.first),
            those(self.second),
            self.preferred[rows],
            those(self.categories),
            {**self.left_out, reason: int((~rows).sum())},
        )


Judgments = Ratings | Preferences
