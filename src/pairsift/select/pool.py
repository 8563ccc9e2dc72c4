"""The rows to choose from: score tables with joined columns, without excluded rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from pairsift.errors import PairsiftError
from pairsift.expressions.database import run_sql, score_columns
from pairsift.expressions.terms import Columns, Term, quoted
from pairsift.select import exclusion
from pairsift.select.join import Join, JoinedTable, joined_sql, open_join, with_on
from pairsift.select.tables import ScoreTables

OK = "status = 'ok'"
_SAMPLE_ROWS = 2_000_000


class Pool:
    """Relations over the score tables, created as the query needs them.

    - ``scored``: all rows of all tables, and ``pos``.
    - ``pool``: the same, or with joined tables, a table of the columns that are used.
    - `rows`: SQL of the pool without excluded rows and, once they are known, repeated rows.

    Attributes:
        columns: the names for expressions.
        excluded: ok rows whose uid is on an exclusion list.
        repeated: scorable rows whose uid another scorable row also has.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: ScoreTables) -> None:
        self.connection = connection
        self.tables = tables
        self.excluded = 0
        self.repeated = 0
        self._joins: list[JoinedTable] = []
        self._without: list[str] = []
        self._is_view = True
        run_sql(connection, f"CREATE VIEW scored AS {tables.scan_sql()}")
        self._own: Columns = score_columns(connection, "scored")
        self.columns: dict[str, Term] = dict(self._own)

    def join(self, joins: Sequence[Join]) -> list[Join]:
        """Open other tables, so that expressions can name their columns.

        Returns:
            the joins as they were resolved.
        """
        names = [join.name for join in joins]
        for name in names:
            if names.count(name) > 1 or name in self._own:
                raise PairsiftError(
                    f"--join {name}=...: another join or a score column has the name {name}; "
                    "choose another name"
                )
        if joins:
            has_uid = bool(self._fetch("SELECT 1 FROM scored WHERE uid IS NOT NULL LIMIT 1"))
            self._joins = [open_join(self.connection, join, has_uid) for join in joins]
        for table in self._joins:
            self.columns.update(table.columns)
        return [with_on(table) for table in self._joins]

    def open(self, used: frozenset[str]) -> None:
        """Create the relation ``pool`` with at least the `used` columns."""
        joins = [table for table in self._joins if used & table.columns.keys()]
        self._is_view = not joins
        if not joins:
            run_sql(self.connection, "CREATE VIEW pool AS FROM scored")
            return
        names = sorted({"pos", "status", "shard", "key", "uid"} | (used & self._own.keys()))
        relation = f"SELECT {', '.join(map(quoted, names))} FROM scored"
        for table in joins:
            relation = joined_sql(self.connection, table, relation, used)
        # Join once, because otherwise every scan would join again. Identities are read only if
        # needed.
        kept = sorted(({"pos", "status"} | used) - {"shard", "key", "uid"} | used)
        run_sql(
            self.connection,
            f"CREATE TEMP TABLE pool AS SELECT {', '.join(map(quoted, kept))} FROM ({relation})",
        )

    def exclude(self, paths: Sequence[str]) -> None:
        """Leave out ok rows whose uid is on a list."""
        if not paths:
            return
        exclusion.load_exclusions(self.connection, paths)
        run_sql(
            self.connection,
            f"CREATE TEMP TABLE excluded AS SELECT pos FROM scored WHERE {OK} "
            f"AND try_cast(uid AS UUID) IN (SELECT uid FROM {exclusion.TABLE})",
        )
        self.excluded = int(self._fetch("SELECT count(*) FROM excluded")[0][0])
        if self.excluded:
            self._without.append("excluded")

    def leave_out_repeated(self, scorable: str, order: str) -> None:
        """Among scorable rows with the same uid, keep only the first in `order`.

        Args:
            scorable: SQL condition.
            order: SQL of terms over the pool's columns, followed by shard, key and pos.
        """
        run_sql(
            self.connection,
            "CREATE TEMP TABLE repeated_uids AS SELECT uid FROM "
            f"(SELECT try_cast(uid AS UUID) AS uid FROM ({self.identified(scorable)})) "
            "WHERE uid IS NOT NULL GROUP BY uid HAVING count(*) > 1",
        )
        run_sql(
            self.connection,
            "CREATE TEMP TABLE repeated AS SELECT pos FROM (SELECT pos, row_number() OVER "
            f"(PARTITION BY try_cast(uid AS UUID) ORDER BY {order}shard, key, pos) AS place "
            f"FROM ({self.identified(scorable)}) "
            "WHERE try_cast(uid AS UUID) IN (FROM repeated_uids)) WHERE place > 1",
        )
        self.repeated = int(self._fetch("SELECT count(*) FROM repeated")[0][0])
        if self.repeated:
            self._without.append("repeated")

    @property
    def rows(self) -> str:
        """SQL relation of the rows that are not left out, for use after FROM."""
        if not self._without:
            return "pool"
        anti = " ".join(f"ANTI JOIN {name} USING (pos)" for name in self._without)
        return f"(SELECT * FROM pool {anti})"

    @property
    def in_order(self) -> bool:
        """Whether a scan of `rows` returns them in order of position."""
        return self._is_view and not self._without

    def sample(self) -> str:
        """Return an SQL relation with enough rows to estimate a quantile."""
        if self._is_view:
            return f"({self.tables.sample_sql(_SAMPLE_ROWS)})"
        total = sum(table.rows for table in self.tables.tables)
        step = max(1, total // _SAMPLE_ROWS)
        return f"(SELECT * FROM pool WHERE pos % {step} = 0)"

    def identified(self, condition: str) -> str:
        """Return SQL of the rows that meet a condition, with uid, shard and key."""
        if self._is_view:
            return f"SELECT * FROM {self.rows} WHERE {condition}"
        left_out = "uid, shard, key"
        names = {row[0] for row in self._fetch("DESCRIBE pool")} & {"uid", "shard", "key"}
        own = f"* EXCLUDE ({', '.join(sorted(names))})" if names else "*"
        return (
            f"SELECT chosen.*, {left_out} FROM (SELECT {own} FROM {self.rows} WHERE {condition}) "
            "AS chosen JOIN (SELECT pos, uid, shard, key FROM scored) USING (pos)"
        )

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = run_sql(self.connection, sql).fetchall()
        return found
