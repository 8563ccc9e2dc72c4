"""Measure how far a selection by a cascade's scores agrees with the one by full scoring.

For audited rows two values are known: the full scorer's, and the cascade's own. The same
expressions and the same cut are applied to both, which gives two selections of these rows, and
their common rows are counted. The cut may differ from the one that the cascade was planned for; the
measurement shows what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from pairsift.cascade.columns import AGREEMENT, AUDIT, READ_WHEN_OPEN, STAGE, UNAUDITED, VALUE
from pairsift.errors import PairsiftError
from pairsift.expressions.database import run_sql
from pairsift.expressions.terms import number_sql, quoted
from pairsift.select.agreement import Agreement
from pairsift.select.cut import literal, values_sql
from pairsift.select.record import Cut


@dataclass(frozen=True, slots=True)
class CascadeAudit:
    """The audit of a cascade's score tables; see :class:`pairsift.select.agreement.Audit`."""

    fingerprint: Mapping[str, str]

    def columns(self, used: frozenset[str]) -> frozenset[str]:
        unread = used & set(self.fingerprint[READ_WHEN_OPEN].split(","))
        if unread and not used & {STAGE, AUDIT}:
            raise PairsiftError(
                f"these are scores of a cascade ({self.fingerprint['stages']}): "
                f"{', '.join(sorted(unread))} is null where a cheap scorer decided the pair. "
                f"Select by {VALUE} (the cascade's cut is {self.fingerprint['cut']}), or add a "
                f'condition on {STAGE}, e.g. "{AUDIT}" for the rows that were fully scored in any '
                "case"
            )
        return frozenset({UNAUDITED, AUDIT}) if VALUE in used else frozenset()

    def measure(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: str,
        passing: str,
        ranked: Callable[[str], str] | None = None,
        cuts: Sequence[Cut] = (),
    ) -> Agreement:
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
            # The same number per group, so that the two selections have equal sizes.
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
        return Agreement(count, common, either, float(self.fingerprint[AGREEMENT]))
