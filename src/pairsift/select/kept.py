"""Positions of the rows that a query keeps, in order, out of core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from pairsift.expressions.database import arrow_batches
from pairsift.expressions.terms import Term, number_sql
from pairsift.select.cut import literal, ranked_sql, tied_positions, values_sql
from pairsift.select.pool import Pool
from pairsift.select.record import Cut

STEP = 1 << 20
"""Number of positions read at a time."""


@dataclass(frozen=True, slots=True)
class RowsAboveCut:
    """The rows that a cut keeps.

    Attributes:
        passing: SQL condition of the rows that pass.
        scorable: SQL condition of the rows that can be ranked.
        by, per: what rows are ranked and grouped by.
        seed: decides which of equal rows at a threshold are kept.
    """

    connection: duckdb.DuckDBPyConnection
    pool: Pool
    passing: str
    scorable: str
    by: Term
    per: Term | None
    cuts: Sequence[Cut]
    seed: int

    def positions(self) -> Iterator[np.ndarray]:
        """Yield the positions of the kept rows, ascending, in arrays of about `STEP` rows."""
        order = "" if self.pool.in_order else " ORDER BY pos"
        cuts = [cut for cut in self.cuts if cut.kept]
        if not cuts:
            return
        if self.per is None:
            (cut,) = cuts
            edge = number_sql(cut.threshold or 0.0, single=self.by.single)
            ties = self._ties(f"{self.by.sql} = {edge}", cuts)
            tied = f"{self.by.sql} = {edge}" if ties is not None else "FALSE"
            yield from read_positions(
                self.connection,
                f"SELECT pos, {tied} FROM {self.pool.rows} "
                f"WHERE {self.scorable} AND {self.by.sql} >= {edge}{order}",
                ties,
            )
            return
        edges = values_sql(
            [
                (literal(cut.group), number_sql(cut.threshold or 0.0),
                 "TRUE" if cut.ties_kept < cut.ties else "FALSE")
                for cut in cuts
            ],
            "edges(edge_group, edge, open)",
        )  # fmt: skip
        rows = ranked_sql(self.pool.rows, self.passing, self.by, self.per, "pos")
        yield from read_positions(
            self.connection,
            f"SELECT pos, open AND val = edge FROM ({rows}) JOIN {edges} "
            "ON grp IS NOT DISTINCT FROM edge_group AND val >= edge ORDER BY pos",
            self._ties(None, cuts),
        )

    def _ties(self, at_edge: str | None, cuts: Sequence[Cut]) -> np.ndarray | None:
        """Return positions of the rows at the threshold that are kept; None if all of them are.

        Args:
            at_edge: SQL condition for rows at the threshold, if there is only one threshold.
        """
        cuts = [cut for cut in cuts if cut.ties_kept < cut.ties]
        if not cuts:
            return None
        identity = ("pos", "uid", "shard", "key")
        if at_edge is not None:
            rows = f"({self.pool.identified(f'{self.scorable} AND {at_edge}')})"
            tied = (
                f"SELECT {', '.join(identity)}, 0 AS grp, {cuts[0].ties_kept} AS places FROM {rows}"
            )
        else:
            rows = f"({self.pool.identified(self.scorable)})"
            edges = values_sql(
                [
                    (literal(cut.group), number_sql(cut.threshold or 0.0), str(cut.ties_kept))
                    for cut in cuts
                ],
                "edges(edge_group, edge, places)",
            )
            tied = (
                f"SELECT {', '.join(identity)}, grp, places FROM "
                f"({ranked_sql(rows, self.scorable, self.by, self.per, *identity)}) JOIN {edges} "
                "ON grp IS NOT DISTINCT FROM edge_group AND val = edge"
            )
        return tied_positions(self.connection, tied, self.seed)


def read_positions(
    connection: duckdb.DuckDBPyConnection, sql: str, ties: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the positions that a query returns.

    Args:
        sql: its first column is the position; its second, with `ties`, whether the row is at a
            threshold.
        ties: the rows at a threshold that are kept; None keeps all.
    """
    for batch in arrow_batches(connection, sql, STEP):
        positions = np.from_dlpack(batch.column(0))
        if ties is not None:
            tied = np.flatnonzero(np.from_dlpack(batch.column(1).cast(pa.uint8())))
            lost = tied[~np.isin(positions[tied], ties)]
            positions = np.delete(positions, lost)
        if len(positions):
            yield positions
