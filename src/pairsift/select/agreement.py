"""How far a selection out of a cascade's scores is the one that full scoring would make.

On the audited rows both are known: what the full scorer says, and what the cascade would have made
of them. The same expressions and the same cut over the one and the other give two selections of
these rows, and what they have in common is counted. Nothing is assumed about the cut: it may be
another than the cascade was planned for, and the measurement then says what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pairsift.errors import PairsiftError
from pairsift.intervals import binomial_bounds
from pairsift.scorers.cascade.columns import (
    AGREEMENT,
    AUDIT,
    READ_WHEN_OPEN,
    SCORER,
    STAGE,
    UNAUDITED,
    VALUE,
)
from pairsift.select.cut import literal, values_sql
from pairsift.select.expression import number_sql
from pairsift.select.record import Cut
from pairsift.select.tables import quoted, run_sql

CONFIDENCE = 0.95
# What it takes to measure, besides the columns that the selection is made by.
MEASURED_BY = frozenset({UNAUDITED, AUDIT})


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


def is_cascade(fingerprint: Mapping[str, str]) -> bool:
    """Whether scores were made by a cascade."""
    return fingerprint.get("scorer") == SCORER


def refuse_unread(fingerprint: Mapping[str, str], used: frozenset[str]) -> None:
    """Refuse a selection by columns that are null wherever a cheap stage settled the pair.

    Raises:
        PairsiftError: it uses one, and does not tell such rows apart.
    """
    unread = used & set(fingerprint[READ_WHEN_OPEN].split(","))
    if unread and not used & {STAGE, AUDIT}:
        raise PairsiftError(
            f"these are scores of a cascade ({fingerprint['stages']}): {', '.join(sorted(unread))} "
            f"is null where a cheap scorer settled the pair. Select by {VALUE} (the cascade's cut "
            f'is {fingerprint["cut"]}), or add a condition on {STAGE}, e.g. "{AUDIT}" for the '
            "rows that were fully scored in any case"
        )


def measure(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    passing: str,
    fingerprint: Mapping[str, str],
    ranked: Callable[[str], str] | None = None,
    cuts: Sequence[Cut] = (),
) -> Agreement:
    """Count what a selection has in common with that by full scoring.

    Args:
        rows: SQL relation of the rows selected from.
        passing: SQL condition of those that may be kept.
        ranked: from a relation to SQL of those of its rows that can be ranked: pos, grp, val;
            None where all that pass are kept.
        cuts: of each group.
    """
    audited = f"(SELECT * FROM {rows} WHERE {AUDIT})"
    as_cascade = f"(SELECT * REPLACE ({UNAUDITED} AS {quoted(VALUE)}) FROM {audited})"
    if ranked is None:
        ours = f"SELECT pos FROM {as_cascade} WHERE {passing}"
        theirs = f"SELECT pos FROM {audited} WHERE {passing}"
    else:
        edges = [
            (literal(cut.group), number_sql(cut.threshold))
            for cut in cuts
            if cut.threshold is not None
        ]
        above = values_sql(edges or [("NULL", number_sql(math.inf))], "edges(edge_group, edge)")
        ours = (
            f"SELECT pos, grp FROM ({ranked(as_cascade)}) JOIN {above} "
            "ON grp IS NOT DISTINCT FROM edge_group AND val >= edge"
        )
        # As many of each group, so that the two selections are of one size, as in the whole.
        theirs = (
            "SELECT pos FROM (SELECT pos, grp, row_number() OVER "
            f"(PARTITION BY grp ORDER BY val DESC, pos) AS place FROM ({ranked(audited)})) "
            f"JOIN (SELECT grp AS own_group, count(*) AS size FROM ({ours}) GROUP BY grp) "
            "ON grp IS NOT DISTINCT FROM own_group AND place <= size"
        )
    ((count, common, either),) = run_sql(
        connection,
        f"SELECT (SELECT count(*) FROM {audited} WHERE {quoted(VALUE)} IS NOT NULL), "
        "count_if(ours AND theirs), count(*) FROM "
        "(SELECT bool_or(own) AS ours, bool_or(NOT own) AS theirs FROM "
        f"(SELECT pos, TRUE AS own FROM ({ours}) UNION ALL "
        f"SELECT pos, FALSE AS own FROM ({theirs})) GROUP BY pos)",
    ).fetchall()
    return Agreement(count, common, either, float(fingerprint[AGREEMENT]))


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
