"""Describe in a report the pairs that the scorer was not trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.report.table import ScoredRows
from pairsift.scorers.marking import LANGUAGE, OUT_OF_SCOPE
from pairsift.scorers.scope import Reason, Scope

# The meaning of null in a slice column, if it has one.
NULL_MEANS = {OUT_OF_SCOPE: "in scope"}


@dataclass(frozen=True, slots=True)
class Marked:
    """Scored pairs marked for one reason."""

    meaning: str
    pairs: int
    kept: int


@dataclass(frozen=True, slots=True)
class ScopeNote:
    """What the scorer was trained for, and how many pairs are outside.

    Attributes:
        marked: None if the run did not mark rows.
    """

    scope: Scope
    marked: Sequence[Marked] | None

    @property
    def sentence(self) -> str:
        """Say what the scorer was and was not trained for."""
        if not self.scope.trained_on:
            return f"The scorer reads captions in {', '.join(self.scope.languages)}."
        return (
            f"The scorer was trained on {self.scope.trained_on}. It was not trained for "
            f"{self.scope.not_trained_on}, and its scores of these mean little."
        )

    def is_outside(self, column: str, value: str | None) -> bool:
        """Return whether a value of a slice column is a language out of scope."""
        return column == LANGUAGE and value is not None and not self.scope.reads(value)


def read_scope(rows: ScoredRows) -> ScopeNote | None:
    """Return the scope that the scoring run recorded; None if the scorer has none.

    Runs into one folder have one fingerprint, and so one scorer and one scope.
    """
    told: Mapping[str, Any] | None = next((f["scope"] for f in rows.facts if f.get("scope")), None)
    if told is None:
        return None
    if OUT_OF_SCOPE not in rows.slices:
        return ScopeNote(Scope.from_json(told), None)
    found = rows.fetch(
        f"SELECT {OUT_OF_SCOPE}::VARCHAR, count(*), count(*) FILTER (kept) "
        f"FROM rows WHERE status = 'ok' AND {OUT_OF_SCOPE} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC"
    )
    marked = [Marked(Reason(reason).meaning, count, kept) for reason, count, kept in found]
    return ScopeNote(Scope.from_json(told), marked)
