"""Measure how much a selection agrees with the one that full scoring would make.

A cascade scores some rows with a cheaper scorer only. Its entry in the scorer registry names an
audit, which knows how to select from such score tables and how to measure the agreement.
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
        """Return the columns that measuring needs besides `used`; empty if nothing can be measured.

        Raises:
            PairsiftError: `used` has a column that is null in rows of the cheaper scorer.
        """

    def measure(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: str,
        passing: str,
        ranked: Callable[[str], str] | None = None,
        cuts: Sequence[Cut] = (),
    ) -> Agreement:
        """Count the rows that a selection shares with the selection by full scoring.

        Args:
            rows: SQL relation of all rows.
            passing: SQL condition of the rows that may be kept.
            ranked: from a relation to SQL of its rows that can be ranked (pos, grp, val); None if
                all rows that pass are kept.
            cuts: the cut of each group.
        """


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of a selection with the one by full scoring, measured on audited rows.

    Attributes:
        audited: number of ok rows that were scored in full to measure the agreement.
        common, either: how many of these are in both selections, and in at least one.
        value: fraction of the selection that is the same, 2 * common / (size + size); None if both
            selections are empty.
        low, high: interval of `value` with confidence `CONFIDENCE`: Clopper-Pearson for the
            fraction common / either, from which `value` is computed.
        wanted: the agreement for which the cascade was planned.
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
        """Return plain values."""
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
    """Convert common / either to the fraction of each selection, assuming equal sizes."""
    return 2 * common / (1 + common)


def refuse_disagreement(found: Agreement, wanted: float) -> None:
    """Refuse a selection that differs too much from what full scoring would select.

    Raises:
        PairsiftError: even the upper end of the interval is below `wanted`.
    """
    low, high = found.interval
    if high < wanted:
        raise PairsiftError(
            f"full scoring would select only {percent(found.value)} of this selection "
            f"({percent(low)} to {percent(high)}, from {found.audited:,} audited pairs), but "
            f"{percent(wanted)} is required. The cascade was planned for another cut: plan one "
            "for this cut, or accept less with --agreement"
        )


def describe_agreement(found: Mapping[str, Any]) -> str:
    """Describe the values of :meth:`Agreement.to_json` in one sentence."""
    if found["value"] is None:
        return "agreement with full scoring is unknown: no audited pair was selected"
    words = (
        f"full scoring would select {percent(found['value'])} of this selection "
        f"({percent(found['low'])} to {percent(found['high'])}, "
        f"from {found['audited']:,} audited pairs)"
    )
    if found["high"] < found["wanted"]:
        words += f": less than the {percent(found['wanted'])} that the cascade was planned for"
    return words


def percent(share: float | None) -> str:
    """Format a fraction as a percentage."""
    return "nothing" if share is None else f"{100 * share:.1f} %"
