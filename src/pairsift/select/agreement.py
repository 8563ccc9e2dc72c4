"""How far a selection is the one that a slower scorer would make, where some rows know both.

A scorer may leave rows to a cheaper one, as a cascade does. It names an audit in the scorer
registry: what it takes to select from its score tables, and to measure what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pairsift.errors import PairsiftError
from pairsift.intervals import binomial_bounds

if TYPE_CHECKING:
    import duckdb

    from pairsift.select.record import Cut

CONFIDENCE = 0.95


class Audit(Protocol):
    """Rules of score tables in which some rows were scored by a cheaper scorer.

    Made by the factory that the scorer's registry entry names, from the tables' fingerprint.
    """

    def columns(self, used: frozenset[str]) -> frozenset[str]:
        """Columns that measuring needs besides `used`; empty if there is nothing to measure.

        Raises:
            PairsiftError: `used` has a column that is null where a cheaper scorer decided.
        """

    def measure(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: str,
        passing: str,
        ranked: Callable[[str], str] | None = None,
        cuts: Sequence[Cut] = (),
    ) -> Agreement:
        """Count what a selection has in common with the one by full scoring.

        Args:
            rows: SQL relation of the rows selected from.
            passing: SQL condition of those that may be kept.
            ranked: from a relation to SQL of those of its rows that can be ranked: pos, grp, val;
                None where all that pass are kept.
            cuts: of each group.
        """


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of a selection with the one by full scoring, measured on audited rows.

    Attributes:
        audited: ok rows that were always fully scored.
        common, either: of these, in both selections, and in at least one.
        value: share of the selection that is the same, 2 * common / (size + size); None where
            neither selection has a row.
        low, high: interval of `value` with confidence `CONFIDENCE`. Given the cut, every row of
            either selection is in both or not: exact for that share (Clopper-Pearson), of which
            `value` is a function.
        wanted: what the cascade was planned for.
    """

    audited: int
    common: int
    either: int
    wanted: float

    @property
    def value(self) -> float | None:
        return _same(self.common / self.either) if self.either else None

    @property
    def interval(self) -> tuple[float, float]:
        low, high = binomial_bounds(self.common, self.either, CONFIDENCE) if self.either else (0, 1)
        return _same(low), _same(high)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        low, high = self.interval
        return {
            "audited": self.audited,
            "common": self.common,
            "either": self.either,
            "value": self.value,
            "low": low,
            "high": high,
            "confidence": CONFIDENCE,
            "wanted": self.wanted,
        }


def _same(common: float) -> float:
    """From the share of all in either selection to the share of each, if they are of one size."""
    return 2 * common / (1 + common)


def refuse_disagreement(found: Agreement, wanted: float) -> None:
    """Refuse a selection that is surely not what full scoring would select.

    Raises:
        PairsiftError: even the interval's upper end is below what is wanted.
    """
    low, high = found.interval
    if high < wanted:
        raise PairsiftError(
            f"only {percent(found.value)} of this selection is what full scoring would select "
            f"({percent(low)} to {percent(high)}, from {found.audited:,} audited pairs), and "
            f"{percent(wanted)} is wanted. The cascade was planned for another cut: plan one for "
            "this cut, or accept less with --agreement"
        )


def describe_agreement(found: Mapping[str, Any]) -> str:
    """What :meth:`Agreement.to_json` says, in words."""
    if found["value"] is None:
        return "agreement with full scoring: unknown, none of the audited pairs is selected"
    words = (
        f"{percent(found['value'])} of it is what full scoring would select "
        f"({percent(found['low'])} to {percent(found['high'])}, "
        f"from {found['audited']:,} audited pairs)"
    )
    if found["high"] < found["wanted"]:
        words += f": less than the {percent(found['wanted'])} that the cascade was planned for"
    return words


def percent(share: float | None) -> str:
    """A share for people."""
    return "nothing" if share is None else f"{100 * share:.1f} %"
