"""The rows to choose from: score tables with joined columns, without excluded rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from pairsift.errors import PairsiftError
from pairsift.expressions.database import run_sql, score_columns
from pairsift.expressions.terms import Columns, Term, quoted
from pairsift.hashing import SHA
from pairsift.scorers.caption_index import CAPTION_INDEX
from pairsift.select import exclusion, groups
from pairsift.select.cut import seeded_order_sql
from pairsift.select.join import Join, JoinedTable, joined_sql, open_join, with_on
from pairsift.select.tables import ROW_BITS, ScoreTables

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
        known_by: what repeated rows are known by: their uid, their file, or what they have.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: ScoreTables) -> None:
        self.connection = connection
        self.tables = tables
        self.excluded = 0
        self.repeated = 0
        self.known_by: tuple[str, ...] = ("uid",)
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
        wanted = {"pos", "status", "shard", "key", "uid"}
        names = sorted(wanted | ((used | {CAPTION_INDEX}) & self._own.keys()))
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
        """Leave out ok rows whose uid is on a list, or that `pairsift dedup --against` marked."""
        if not paths:
            return
        marked = [path for path in paths if groups.has_marks(path)]
        lists = [path for path in paths if path not in marked]
        parts = [groups.marked_sql(self.connection, path, self.tables) for path in marked]
        if lists:
            exclusion.load_exclusions(self.connection, lists)
            parts.append(
                f"SELECT pos FROM scored WHERE {OK} "
                f"AND try_cast(uid AS UUID) IN (SELECT uid FROM {exclusion.TABLE})"
            )
        self.excluded = self._leave_out("excluded", " UNION ".join(parts))

    def leave_out_repeated(self, scorable: str, order: str) -> None:
        """Among scorable rows with the same uid, keep only the first in `order`.

        A row without a uid is known by the SHA-256 of its image's file, where that is a column.

        Args:
            scorable: SQL condition.
            order: SQL of terms over the pool's columns, followed by shard, key and pos.
        """
        name = "try_cast(uid AS UUID)"
        if SHA in self._own:
            with_uid, without = self._fetch(
                f"SELECT count({name}) > 0, count({name}) < count(*) FROM scored WHERE {OK}"
            )[0]
            self.known_by = tuple(
                word for word, there in (("uid", with_uid), ("file", without)) if there
            ) or ("uid",)
            name = f"coalesce({name}::VARCHAR, {SHA})"
        elif not self._fetch(f"SELECT 1 FROM scored WHERE {OK} AND {name} IS NOT NULL LIMIT 1"):
            self.known_by = ()
        rows = self.identified(scorable, *([SHA] if SHA in self._own else []))
        run_sql(
            self.connection,
            f"CREATE TEMP TABLE repeated_names AS SELECT name FROM (SELECT {name} AS name "
            f"FROM ({rows})) WHERE name IS NOT NULL GROUP BY name HAVING count(*) > 1",
        )
        self.repeated = self._leave_out(
            "repeated",
            "SELECT pos FROM (SELECT pos, row_number() OVER "
            f"(PARTITION BY {name} ORDER BY {order}shard, key, pos) AS place "
            f"FROM ({rows}) WHERE {name} IN (FROM repeated_names)) WHERE place > 1",
        )

    def leave_out_captions(self, scorable: str, order: str) -> int:
        """Of the scorable rows of each sample, keep only the first in `order`; of equal ones the
        first caption.

        Returns:
            how many were left out.

        Raises:
            PairsiftError: the scores have one caption of each sample.
        """
        if CAPTION_INDEX not in self._own:
            raise PairsiftError(
                "--best-caption: the scores have one caption of each sample; score several with "
                "--caption-field A,B"
            )
        return self._leave_out(
            "captions",
            "SELECT pos FROM (SELECT pos, row_number() OVER "
            f"(PARTITION BY pos >> {ROW_BITS}, key ORDER BY {order}pos) AS place "
            f"FROM ({self.identified(scorable)})) WHERE place > 1",
        )

    def leave_out_copies(self, scorable: str, url: str, keep: int, order: str, seed: int) -> int:
        """Of the scorable rows of each group of copies, keep only the first `keep` in `order`.

        Args:
            scorable: SQL condition.
            url: folder that `pairsift dedup` wrote.
            order: SQL of terms over the pool's columns, followed by the seeded order.

        Returns:
            how many were left out.
        """
        groups.load_groups(self.connection, url, self.tables)
        order += f"{seeded_order_sql(seed)}, shard, key, pos"
        return self._leave_out(
            "copies",
            "SELECT pos FROM (SELECT pos, row_number() OVER "
            f"(PARTITION BY {groups.COPY_GROUP} ORDER BY {order}) AS place "
            f"FROM ({self.identified(scorable)}) JOIN {groups.TABLE} USING (pos)) "
            f"WHERE place > {keep}",
        )

    def _leave_out(self, name: str, sql: str) -> int:
        """Leave out the rows of a query; return their number."""
        run_sql(self.connection, f"CREATE TEMP TABLE {name} AS {sql}")
        count = int(self._fetch(f"SELECT count(*) FROM {name}")[0][0])
        if count:
            self._without.append(name)
        return count

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

    def identified(self, condition: str, *more: str) -> str:
        """Return SQL of the rows that meet a condition, with uid, shard, key and more."""
        if self._is_view:
            return f"SELECT * FROM {self.rows} WHERE {condition}"
        wanted = ("uid", "shard", "key", *more)
        left_out = ", ".join(wanted)
        names = {row[0] for row in self._fetch("DESCRIBE pool")} & set(wanted)
        own = f"* EXCLUDE ({', '.join(sorted(names))})" if names else "*"
        return (
            f"SELECT chosen.*, {left_out} FROM (SELECT {own} FROM {self.rows} WHERE {condition}) "
            f"AS chosen JOIN (SELECT pos, {left_out} FROM scored) USING (pos)"
        )

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = run_sql(self.connection, sql).fetchall()
        return found
