"""Literals, names and columns in SQL, read by DuckDB."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import numpy as np
import pytest

from pairsift.expressions.terms import (
    Kind,
    Term,
    column_term,
    number_sql,
    quoted,
    ranking,
    text_sql,
)

CONNECTION = duckdb.connect()


def _one(sql: str) -> Any:
    ((found,),) = CONNECTION.execute(sql).fetchall()
    return found


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -0.0, 1e300, 5e-324, 0.1, -66.1, 2**53]
)
def test_numbers_are_read_as_they_are(value: float) -> None:
    assert repr(_one(f"SELECT {number_sql(value)}")) == repr(float(value))


@pytest.mark.parametrize("value", [66.1, -0.1, 1e-45, 16777217.0, math.inf])
def test_a_single_number_is_rounded_to_float32(value: float) -> None:
    assert _one(f"SELECT {number_sql(value, single=True)}") == float(np.float32(value))


def test_a_negative_number_may_follow_an_operator() -> None:
    assert _one(f"SELECT 1 -{number_sql(-2.0)}") == 3


@pytest.mark.parametrize("text", ["", "it's", "'; DROP TABLE x; --", "a\nb", "犬 🐕", '"', "\\'"])
def test_texts_and_names_are_what_they_were(text: str) -> None:
    assert _one(f"SELECT {text_sql(text)}") == text
    if text:
        made = CONNECTION.execute(f"SELECT 1 AS {quoted(text)}")
        assert made.description is not None
        assert made.description[0][0] == text


@pytest.mark.parametrize(
    ("of_type", "value", "kind", "read"),
    [
        ("FLOAT", "66.1", Kind.NUMBER, 66.1),
        ("DOUBLE", "0.1", Kind.NUMBER, 0.1),
        ("DECIMAL(9, 2)", "1.25", Kind.NUMBER, 1.25),
        ("UTINYINT", "7", Kind.NUMBER, 7.0),
        ("HUGEINT", "3", Kind.NUMBER, 3.0),
        ("BOOLEAN", "true", Kind.BOOLEAN, True),
        ("VARCHAR", "'x'", Kind.TEXT, "x"),
        ("ENUM('a', 'b')", "'b'", Kind.TEXT, "b"),
        ("DATE", "'2024-01-31'", Kind.TEXT, "2024-01-31"),
        ("TIMESTAMP", "'2024-01-31 10:00:00'", Kind.TEXT, "2024-01-31 10:00:00"),
        ("TIMESTAMP_NS", "'2024-01-31 10:00:00'", Kind.TEXT, "2024-01-31 10:00:00"),
        ("UUID", "'00000000-0000-0000-0000-000000000001'", Kind.TEXT,
         "00000000-0000-0000-0000-000000000001"),
        ("INTEGER[]", "[1]", Kind.OTHER, [1]),
        ("DOUBLE[2]", "[1.0, 2.0]", Kind.OTHER, (1.0, 2.0)),
        ("TIMESTAMP[]", "[]", Kind.OTHER, []),
        ("ENUM('a]')[]", "['a]']", Kind.OTHER, ["a]"]),
        ("STRUCT(a INTEGER)", "{'a': 1}", Kind.OTHER, {"a": 1}),
        ("BLOB", "'x'", Kind.OTHER, b"x"),
    ],
)  # fmt: skip
def test_a_column_has_the_kind_of_its_type(
    of_type: str, value: str, kind: Kind, read: object
) -> None:
    CONNECTION.execute(f"CREATE OR REPLACE TABLE t AS SELECT CAST({value} AS {of_type}) AS c")
    ((_, type_name, *_),) = CONNECTION.execute("DESCRIBE t").fetchall()
    term = column_term("c", '"c"', type_name)
    found = _one(f"SELECT {term.sql} FROM t")
    assert (term.kind, term.columns) == (kind, {"c"})
    assert term.single is (of_type == "FLOAT")
    assert found == (pytest.approx(read) if of_type == "FLOAT" else read)


@pytest.mark.parametrize("of_type", ["FLOAT", "DOUBLE"])
def test_nan_ranks_as_null(of_type: str) -> None:
    term = column_term("c", "c", of_type)
    values = f"SELECT CAST('nan' AS {of_type}) AS c"
    assert _one(f"SELECT {ranking(term)} FROM ({values})") is None
    assert _one(f"SELECT {ranking(term)} FROM (SELECT CAST(2 AS {of_type}) AS c)") == 2
    text = column_term("c", "c", "VARCHAR")
    assert _one(f"SELECT {ranking(text)} FROM (SELECT 'nan' AS c)") == "nan"


def test_a_column_and_a_constant_are_plain_and_a_computed_value_is_not() -> None:
    assert column_term("c", "c", "FLOAT").plain
    assert Term("0e0", Kind.NUMBER, constant=0.0).plain
    assert not Term("c + 1", Kind.NUMBER).plain
