"""The threshold of the k best rows is exact, however badly the sample was drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pytest

from pairsift.expressions.database import open_database, run_sql
from pairsift.select.cut import (
    Bracket,
    counts_sql,
    find_brackets,
    find_cuts,
    literal,
    read_counts,
    same_group,
    tied_positions,
    values_sql,
    wanted,
)
from pairsift.select.record import Cut

ROWS = "SELECT grp, val FROM t"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database() as connection:
        run_sql(connection, "CREATE TABLE t (grp VARCHAR, val DOUBLE)")
        yield connection


def fill(connection: duckdb.DuckDBPyConnection, values: list[float], group: str = "NULL") -> None:
    rows = ", ".join(f"({group}, {literal(value)})" for value in values)
    run_sql(connection, f"INSERT INTO t VALUES {rows}")


def cut_by(connection: duckdb.DuckDBPyConnection, bracket: Bracket, count: int) -> Cut:
    """The cut of the `count` best rows, searched from this bracket."""
    sql = counts_sql("val", literal(bracket.low), literal(bracket.high))
    (row,) = run_sql(connection, f"SELECT {sql} FROM t").fetchall()
    groups = [(None, bracket, read_counts(row))]
    (found,) = find_cuts(connection, ROWS, groups, wanted(None, count))
    return found


@pytest.mark.parametrize(
    ("top", "rows", "kept"),
    [(0.29, 100, 29), (0.3, 10, 3), (1.0, 7, 7), (0.0, 7, 0), (1e-9, 10**9, 1), (0.1, 0, 0)],
)
def test_a_fraction_is_taken_in_exact_decimals(top: float, rows: int, kept: int) -> None:
    assert wanted(top, None)(rows) == kept


def test_a_count_is_at_most_what_there_is() -> None:
    assert [wanted(None, 5)(rows) for rows in (0, 4, 5, 6)] == [0, 4, 5, 5]


VALUES = [float(value) for value in (9, 8, 8, 8, 7, 5, 5, 3, 2, 2, 1, -4)]


@pytest.mark.parametrize(
    "bracket",
    [
        Bracket(),
        Bracket(3, 8),
        Bracket(5, 5),
        Bracket(8, 20),
        Bracket(-10, -4),
        Bracket(20, 30),
        Bracket(-30, -20),
        Bracket(5.5, 6),
    ],
    ids=str,
)
def test_the_cut_does_not_depend_on_the_bracket(
    connection: duckdb.DuckDBPyConnection, bracket: Bracket
) -> None:
    fill(connection, VALUES)
    for count in range(1, len(VALUES) + 2):
        found = cut_by(connection, bracket, count)
        kept = min(count, len(VALUES))
        edge = sorted(VALUES, reverse=True)[kept - 1]
        ties_kept = kept - sum(value > edge for value in VALUES)
        assert found == Cut(None, len(VALUES), kept, edge, VALUES.count(edge), ties_kept)
    assert cut_by(connection, bracket, 0) == Cut(None, len(VALUES), 0)


def test_infinite_values_are_cut_like_others(connection: duckdb.DuckDBPyConnection) -> None:
    fill(connection, [math.inf, 3.0, -math.inf, -math.inf])
    assert [cut_by(connection, Bracket(), k).threshold for k in (1, 2, 3)] == [
        math.inf, 3.0, -math.inf,
    ]  # fmt: skip


def test_a_threshold_of_minus_zero_is_zero(connection: duckdb.DuckDBPyConnection) -> None:
    fill(connection, [1.0, -0.0])
    threshold = cut_by(connection, Bracket(), 2).threshold
    assert math.copysign(1, threshold or 0.0) == 1


def test_each_group_has_a_bracket_around_its_cut(connection: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000)
    fill(connection, values.tolist(), "'a'")
    fill(connection, (values + 100).tolist())
    fill(connection, [1.0, 2.0], "'few'")
    found = find_brackets(connection, ROWS, wanted(0.3, None))
    assert set(found) == {"a", "few", None}
    edge = np.sort(values)[1400]
    assert found["a"].low < edge < found["a"].high
    assert found[None].low < edge + 100 < found[None].high
    assert ((values > found["a"].low) & (values < found["a"].high)).mean() < 0.2
    assert found["few"] == Bracket()


def test_groups_are_in_order_and_the_one_without_a_value_is_last(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    counts = read_counts((1, 0, 0, [5.0], 0))
    groups: list[Any] = [(name, Bracket(), counts) for name in ("b", None, "a")]
    found = find_cuts(connection, ROWS, groups, wanted(None, 1))
    assert [cut.group for cut in found] == ["a", "b", None]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "NULL"), (True, "TRUE"), (False, "FALSE"), ("it's", "'it''s'"), ("\u72ac", "'\u72ac'")],
)
def test_values_of_groups_as_sql(value: Any, text: str) -> None:
    assert literal(value) == text


def test_a_row_of_no_group_is_found_as_one(connection: duckdb.DuckDBPyConnection) -> None:
    fill(connection, [1.0])
    fill(connection, [2.0], "'it''s'")
    for group, expected in ((None, 1.0), ("it's", 2.0)):
        found = run_sql(connection, f"SELECT val FROM t WHERE {same_group(group)}").fetchall()
        assert found == [(expected,)]


@pytest.mark.parametrize("seed", range(3))
def test_ties_go_by_the_hash_of_seed_and_identity(
    connection: duckdb.DuckDBPyConnection, seed: int
) -> None:
    names = [("u1", "s", "k1"), ("u2", "s", "k2"), (None, "s", "k3"), (None, "t", "k1")]
    rows = [
        [str(pos), literal(uid), literal(shard), literal(key), "0", "2"]
        for pos, (uid, shard, key) in enumerate(names)
    ]
    tied = f"SELECT * FROM {values_sql(rows, 't(pos, uid, shard, key, grp, places)')}"
    identities = [uid or f"{shard}/{key}" for uid, shard, key in names]
    digests = [hashlib.md5(f"{seed}:{name}".encode()).hexdigest() for name in identities]
    expected = sorted(np.argsort(digests)[:2].tolist())
    assert tied_positions(connection, tied, seed).tolist() == expected
