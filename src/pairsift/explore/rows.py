"""Find pages of rows that match a filter."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.compiler import compile_expression
from pairsift.expressions.database import file_sql, run_sql, score_columns
from pairsift.expressions.terms import Kind, quoted, ranking, text_sql
from pairsift.pair import Status
from pairsift.report.table import COPIES, ScoredRows, split_position
from pairsift.select.groups import COPY_GROUP

MORE_COLUMNS = ("width", "height", "caption_length")
MAX_PAGE_ROWS = 200
_FATES = {
    "all": "true",
    "ok": "status = 'ok'",
    "kept": "kept",
    "dropped": "status = 'ok' AND NOT kept",
    "failed": "status <> 'ok'",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """The rows that a user asks for.

    Attributes:
        where: an expression as in ``pairsift select --where``; empty for all rows.
        fate: all, ok, kept, dropped, failed, or a status.
        sort: a column, or ``place`` for the order of the shards.
        descending: whether the highest values come first.
        page: page number, from 0.
        size: rows per page.
    """

    where: str = ""
    fate: str = "all"
    sort: str = "place"
    descending: bool = False
    page: int = 0
    size: int = 24


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The number of matching rows, and the rows of one page as plain values, with their position as
    ``pos``.
    """

    total: int
    rows: list[dict[str, Any]]


class RowFinder:
    """Finds rows in the loaded table; one query at a time, from any thread."""

    def __init__(self, rows: ScoredRows) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._names = [column.name for column in rows.columns]
        hidden = {"compared", *(f"step{index}" for index in range(len(rows.columns)))}
        found = score_columns(rows.connection, "rows")
        self._columns = {name: term for name, term in found.items() if name not in hidden}

    @property
    def expression_columns(self) -> list[str]:
        """The columns that a filter's expression may use."""
        return list(self._columns)

    def alone(self) -> threading.Lock:
        """Hold the database's lock, for other queries."""
        return self._lock

    def find(
        self, asked: Filter, among: Iterable[int] | None = None, without: Iterable[int] = ()
    ) -> FoundPage:
        """Return one page of matching rows.

        Args:
            among: positions to choose from; None for all rows.
            without: positions to leave out.

        Raises:
            PairsiftError: the expression or the column to sort by is invalid.
        """
        conditions = [self._fate_sql(asked.fate)]
        if asked.where.strip():
            term = compile_expression(asked.where, self._columns, "where")
            if term.kind is not Kind.BOOLEAN:
                raise PairsiftError(f'"{asked.where}" is not a condition; write e.g. itm >= 66')
            conditions.append(term.sql)
        if asked.sort != "place" and asked.sort not in (*self._names, *MORE_COLUMNS):
            raise PairsiftError(f"cannot sort by {asked.sort!r}; choose {', '.join(self._names)}")
        direction = "DESC" if asked.descending else "ASC"
        order = "pos" if asked.sort == "place" else ranking(self._columns[asked.sort])
        size = max(1, min(MAX_PAGE_ROWS, asked.size))
        names = ["pos", "status", "kept", *self._names, *self._rows.slices, *MORE_COLUMNS]
        if self._rows.grouped:
            names += [COPY_GROUP, COPIES]
        with self._lock:
            connection = self._rows.connection
            source = "rows ANTI JOIN without USING (pos)"
            connection.register("without", _places(without))
            if among is not None:
                connection.register("among", _places(among))
                source += " SEMI JOIN among USING (pos)"
            try:
                where = " AND ".join(conditions)
                total = run_sql(connection, f"SELECT count(*) FROM {source} WHERE {where}")
                count = int(total.fetchall()[0][0])
                found = run_sql(
                    connection,
                    f"SELECT {', '.join(map(quoted, names))} FROM {source} WHERE {where} "
                    f"ORDER BY {order} {direction} NULLS LAST, pos "
                    f"LIMIT {size} OFFSET {max(0, asked.page) * size}",
                ).fetchall()
                details = self._rows.details(row[0] for row in found)
            finally:
                connection.unregister("without")
                if among is not None:
                    connection.unregister("among")
        page = []
        for values in found:
            row = dict(zip(names, values, strict=True))
            detail = details[row["pos"]]
            row |= {"shard": detail.shard, "key": detail.key, "error": detail.error}
            page.append({name: _plain(value) for name, value in row.items()})
        return FoundPage(count, page)

    def scores(self, pos: int) -> dict[str, float | None]:
        """Return the score columns of one row, exactly.

        Raises:
            KeyError: there is no such row, or it has no scores.
        """
        chosen = ", ".join(["status", *map(quoted, self._names)])
        with self._lock:
            sql = f"SELECT {chosen} FROM rows WHERE pos = {int(pos)}"
            found = run_sql(self._rows.connection, sql).fetchall()
        if not found or found[0][0] != Status.OK.value:
            raise KeyError(pos)
        # Nine digits hold a float32 exactly.
        return {
            name: float(f"{value:.9g}") if value is not None and math.isfinite(value) else None
            for name, value in zip(self._names, found[0][1:], strict=True)
        }

    def whole_row(self, pos: int) -> dict[str, Any]:
        """Return every column of one row of the score tables.

        Raises:
            KeyError: there is no such row.
        """
        table, row = split_position(pos)
        if not 0 <= table < len(self._rows.tables.tables):
            raise KeyError(pos)
        path = self._rows.tables.tables[table].path
        with self._lock:
            cursor = run_sql(
                self._rows.connection,
                f"SELECT * EXCLUDE (file_row_number) FROM read_parquet([{file_sql(path)}], "
                f"file_row_number = true) WHERE file_row_number = {row}",
            )
            names = [column[0] for column in cursor.description or []]
            found = cursor.fetchall()
        if not found:
            raise KeyError(pos)
        return {n: _plain(value) for n, value in zip(names, found[0], strict=True)}

    def _fate_sql(self, fate: str) -> str:
        if fate in _FATES:
            return _FATES[fate]
        if fate not in {status.value for status in Status}:
            raise PairsiftError(f"{fate!r} is not a status; choose {', '.join(_FATES)} or a status")
        return f"status = {text_sql(fate)}"


def _places(positions: Iterable[int]) -> pa.Table:
    return pa.table({"pos": pa.array(list(positions), pa.int64())})


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold, rounded to the precision of float32."""
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return None
        return float(f"{value:.6g}")
    return value if isinstance(value, (bool, int, str)) or value is None else str(value)
