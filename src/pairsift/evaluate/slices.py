"""Measure parts of the judgments: by language, by domain, by any column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from pairsift.engines.named_pairs import PairScores
from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Preferences, Ratings
from pairsift.evaluate.results import ColumnResult, SliceResult
from pairsift.sources.rows import Fields

LANGUAGE = "language"
"""The column that is compared with scorers' scopes: ISO 639 codes."""

FEWEST = 10
"""Slices with fewer judgments are listed but not measured."""

_MOST_SLICES = 200
_AND = " / "
_EMPTY = "(empty)"

Some = TypeVar("Some", Ratings, Preferences)
Compare = Callable[[Some, np.ndarray], list[ColumnResult]]
"""Measures part of the judgments; the mask, shape (n,), says which rows of the whole these are."""


def read_labels(rows: Sequence[Fields], by: Sequence[str], path: str) -> dict[str, list[str]]:
    """Read the columns to slice by, and the language column if there is one.

    Args:
        by: column names; several joined by ``+`` slice by their combinations.

    Raises:
        PairsiftError: there is no such column.
    """
    if not rows or not by:
        return {}
    names = [name for asked in by for name in asked.split("+")]
    for name in names:
        if name not in rows[0]:
            raise PairsiftError(
                f"{path} has no column {name!r} to make slices by; there are {', '.join(rows[0])}"
            )
    if LANGUAGE in rows[0]:
        names.append(LANGUAGE)
    return {name: [_text(row[name]) for row in rows] for name in dict.fromkeys(names)}


def _text(value: object) -> str:
    return _EMPTY if value is None or value == "" else str(value)


def slice_values(labels: Mapping[str, Sequence[str]], by: str) -> list[str]:
    """Return every judgment's value of a ``by``."""
    columns = (labels[name] for name in by.split("+"))
    return [_AND.join(values) for values in zip(*columns, strict=True)]


def measure_slices(
    judgments: Some, by: Sequence[str], found: Sequence[PairScores], compare: Compare[Some]
) -> list[SliceResult]:
    """Measure every slice, largest first.

    Raises:
        PairsiftError: a column has too many values.
    """
    results = []
    for asked in by:
        values = slice_values(judgments.labels, asked)
        counts = Counter(values)
        if len(counts) > _MOST_SLICES:
            raise PairsiftError(
                f"--by {asked} makes {len(counts):,} slices; choose a column with at most "
                f"{_MOST_SLICES} values"
            )
        place = np.array(values, object)
        for value, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
            rows = place == value
            part = judgments.take(rows)
            results.append(
                SliceResult(
                    by=asked,
                    value=value,
                    judgments=count,
                    images=len(set(part.images)),
                    columns=compare(part, rows) if count >= FEWEST else [],
                    outside={scores.name: _share_outside(part, scores) for scores in found},
                )
            )
    return results


def _share_outside(part: Ratings | Preferences, scores: PairScores) -> float:
    """Return the fraction of judgments in languages that the scorer was not trained for."""
    languages = part.labels.get(LANGUAGE)
    if scores.scope is None or not languages:
        return 0.0
    unread = [name for name in languages if name != _EMPTY and not scores.scope.reads(name)]
    return len(unread) / len(languages)
