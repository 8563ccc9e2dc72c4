"""Apply the expressions of `pairsift select` to rows in memory.

For tools that stream samples and have no folder of score tables.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.compiler import compile_expression
from pairsift.expressions.database import run_sql, score_columns
from pairsift.expressions.terms import Kind, Term, quoted, ranking, text_sql
from pairsift.pair import Status

_ROWS = "rows"


class RowFilter:
    """A condition, compiled once and applied to many tables. Picklable.

    Args:
        where: condition over the columns, as for :func:`pairsift.select.select`, but without
            percentiles, because these need all rows.
        schema: of the tables that follow.
        status: name of the column with the pairs' status; rows whose status is not ok never pass.

    Raises:
        PairsiftError: the condition names an unknown column, or is not a condition.

    Attributes:
        schema: of the columns that the condition reads.
    """

    def __init__(self, where: str, schema: pa.Schema, *, status: str = "status") -> None:
        if status not in schema.names:
            raise PairsiftError(
                f"there is no column {status!r}, which should hold the status of each pair; score "
                "the pairs first"
            )
        with _connect(schema.empty_table()) as connection:
            term = compile_expression(where, score_columns(connection, _ROWS), "where")
        if term.kind is not Kind.BOOLEAN:
            raise PairsiftError(
                f'where "{where}" is {term.kind.value}; a condition is needed, for example '
                '"itm >= 66"'
            )
        self.where = where
        self.schema = pa.schema([schema.field(name) for name in sorted({status} | term.columns)])
        is_ok = f"{quoted(status)} = {text_sql(Status.OK.value)}"
        self._sql = f"SELECT coalesce({is_ok} AND {term.sql}, FALSE) AS passes FROM {_ROWS}"

    def __call__(self, table: pa.Table) -> np.ndarray:
        """Return (rows,) bool: whether each row passes."""
        with _connect(table.select(self.schema.names)) as connection:
            # DuckDB keeps the order of rows if nothing is grouped or joined.
            found = run_sql(connection, self._sql).fetchnumpy()
        return np.asarray(found["passes"], dtype=bool)


class RowValue:
    """Computes the number by which `pairsift select --by` would rank each row. Picklable.

    Args:
        by: numeric expression over the columns, without percentiles.
        schema: of the tables that follow, which may have other columns too.

    Raises:
        PairsiftError: the expression names an unknown column, or is not a number.
    """

    def __init__(self, by: str, schema: pa.Schema) -> None:
        with _connect(schema.empty_table()) as connection:
            term = compile_expression(by, score_columns(connection, _ROWS), "by")
        if term.kind is not Kind.NUMBER:
            raise PairsiftError(f'by "{by}" is {term.kind.value}; a number is needed')
        self.by = by
        self._names = sorted(term.columns)
        self._sql = f"SELECT CAST({ranking(term)} AS DOUBLE) AS value FROM {_ROWS}"

    def __call__(self, table: pa.Table) -> np.ndarray:
        """Return (rows,) float64, NaN if there is no value."""
        if not self._names:
            raise PairsiftError(f'by "{self.by}" names no column')
        with _connect(table.select(self._names)) as connection:
            found = run_sql(connection, self._sql).fetchnumpy()
        return np.ma.filled(np.ma.asarray(found["value"], dtype=np.float64), np.nan)


def columns_used(expressions: Iterable[str], schema: pa.Schema) -> set[str]:
    """Return the names of the columns that expressions read, also inside percentiles.

    Raises:
        PairsiftError: an expression names an unknown column.
    """
    used: set[str] = set()

    def note(term: Term, percent: Fraction, name: str) -> float:
        used.update(term.columns)
        return 0.0

    with _connect(schema.empty_table()) as connection:
        columns = score_columns(connection, _ROWS)
    for text in expressions:
        used |= compile_expression(text, columns, "expression", note).columns
    return used


@contextlib.contextmanager
def _connect(rows: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    # A separate connection, because threads must not share one.
    connection = _database(os.getpid()).cursor()
    try:
        connection.register(_ROWS, rows)
        yield connection
    finally:
        connection.close()


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """Return this process's database: opening one is slow, and forks must not share it."""
    return duckdb.connect(":memory:", config={"threads": 1})
