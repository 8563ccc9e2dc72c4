"""Human judgments of pairs, in the two forms of published benchmarks: ratings and preferences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pairsift.engines.named_pairs import ImageCaption
from pairsift.evaluate.statistics import Floats

Labels = Mapping[str, Sequence[str]]
"""Labels of each judgment, such as language or domain, by the name of the table's column."""


@dataclass(slots=True)
class Ratings:
    """Human ratings of captions. One row per judgment; a pair may have several rows.

    Attributes:
        images, captions: one per judgment.
        ratings: higher is better; shape (n,), finite.
        given: scores from the judgments' own file, by column name; shape (n,), NaN for null.
        left_out: how many rows the protocol drops, by reason.
        labels: columns by which the judgments can be sliced.
    """

    images: list[str]
    captions: list[str]
    ratings: Floats
    given: Mapping[str, Floats] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def pairs(self) -> Iterator[ImageCaption]:
        """All pairs that need a score, with repeats."""
        yield from zip(self.images, self.captions, strict=True)

    def keep(self, rows: np.ndarray, reason: str) -> Ratings:
        """Keep the rows where the mask `rows`, shape (n,), is true; others are left out."""
        return self if rows.all() else replace(self.take(rows), left_out=_more(self, rows, reason))

    def take(self, rows: np.ndarray) -> Ratings:
        """Return the rows where the mask `rows`, shape (n,), is true."""
        return replace(
            self,
            images=_those(self.images, rows),
            captions=_those(self.captions, rows),
            ratings=self.ratings[rows],
            given={name: values[rows] for name, values in self.given.items()},
            labels={name: _those(values, rows) for name, values in self.labels.items()},
        )


@dataclass(slots=True)
class Preferences:
    """Which of two captions of an image people prefer.

    Attributes:
        images, first, second: file name of the image, and the two captions.
        preferred: 1 for the first, 0 for the second, 0.5 if the votes are tied; shape (n,).
        categories: the kind of each comparison.
        left_out: how many rows do not count, by reason.
        labels: columns by which the judgments can be sliced.
    """

    images: list[str]
    first: list[str]
    second: list[str]
    preferred: Floats
    categories: list[str]
    left_out: Mapping[str, int] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def pairs(self) -> Iterator[ImageCaption]:
        """All pairs that need a score, with repeats."""
        yield from zip(self.images, self.first, strict=True)
        yield from zip(self.images, self.second, strict=True)

    def keep(self, rows: np.ndarray, reason: str) -> Preferences:
        """Keep the rows where the mask `rows`, shape (n,), is true; others are left out."""
        return self if rows.all() else replace(self.take(rows), left_out=_more(self, rows, reason))

    def take(self, rows: np.ndarray) -> Preferences:
        """Return the rows where the mask `rows`, shape (n,), is true."""
        return replace(
            self,
            images=_those(self.images, rows),
            first=_those(self.first, rows),
            second=_those(self.second, rows),
            preferred=self.preferred[rows],
            categories=_those(self.categories, rows),
            labels={name: _those(values, rows) for name, values in self.labels.items()},
        )


Judgments = Ratings | Preferences


def _those(values: Sequence[str], rows: np.ndarray) -> list[str]:
    return [value for value, kept in zip(values, rows, strict=True) if kept]


def _more(judgments: Judgments, rows: np.ndarray, reason: str) -> dict[str, int]:
    return {**judgments.left_out, reason: int((~rows).sum())}
