"""Find the exact threshold of the k best of n rows, without sorting or loading all of them.

A sample gives two values between which the k-th best value most likely lies. One scan counts the
rows above, at and below these values, and collects the few values in between, which gives the
threshold. If the sample was wrong, the values on the right side are counted one by one. So the
result is always exact; the sample only decides how fast it is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np

from pairsift.expressions.database import run_sql
from pairsift.expressions.terms import Term, number_sql, ranking, text_sql
from pairsift.select.record import Cut

# Half the width of the bracket in standard deviations of a sampled rank, and in rows at least.
_DEVIATIONS = 6
_MARGIN_ROWS = 16


@dataclass(frozen=True, slots=True)
class Bracket:
    """The two values between which the cut of a group is searched."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Counts:
    """What a scan counted in one group, relative to its bracket.

    Attributes:
        above, at_high, at_low: rows above the upper end, at it, and at the lower end.
        inside: values strictly between.
        scorable: number of all rows.
    """

    above: int
    at_high: int
    inside: np.ndarray
    at_low: int
    scorable: int


Wanted = Callable[[int], int]
"""Returns the number of rows to keep for the number of scorable rows of a group."""


def wanted(top: float | None, count: int | None) -> Wanted:
    """Return floor(top * n) in exact decimals, or `count`; as floats, 0.29 of 100 would be 28."""
    if count is not None:
        return lambda scorable: min(count, scorable)
    assert top is not None
    fraction = Fraction(repr(float(top)))
    return lambda scorable: math.floor(fraction * scorable)


def find_brackets(
    connection: duckdb.DuckDBPyConnection, sample: str, keep: Wanted
) -> dict[Any, Bracket]:
    """Find a bracket around the cut of each group.

    Args:
        sample: SQL of some of the scorable rows with columns ``grp`` and ``val``.
    """
    found = run_sql(connection, f"SELECT grp, list(val) FROM ({sample}) GROUP BY grp").fetchnumpy()
    groups = found["grp"].tolist() if len(found["grp"]) else []
    return {
        _plain(group): _bracket(np.sort(np.asarray(values, dtype=np.float64)), keep)
        for group, values in zip(groups, found["list(val)"], strict=True)
    }


def _bracket(ascending: np.ndarray, keep: Wanted) -> Bracket:
    size = len(ascending)
    rank = size - keep(size)  # rank of the lowest value that is kept
    share = rank / size
    margin = _MARGIN_ROWS + math.ceil(_DEVIATIONS * math.sqrt(size * share * (1 - share)))
    low, high = rank - margin, rank + margin
    return Bracket(
        float(ascending[low]) if low >= 0 else -math.inf,
        float(ascending[high]) if high < size else math.inf,
    )


def _plain(group: Any) -> Any:
    """Replace numpy's masked value, which stands for null, by None."""
    return None if group is np.ma.masked else group


def counts_sql(value: str, low: str, high: str) -> str:
    """Return SQL of the aggregates for :func:`read_counts`; `low`, `high` are the bracket."""
    return (
        f"count(*), count(*) FILTER ({value} > {high}), count(*) FILTER ({value} = {high}), "
        f"list({value}) FILTER ({value} > {low} AND {value} < {high}), "
        f"count(*) FILTER ({value} = {low})"
    )


def read_counts(columns: Sequence[Any]) -> Counts:
    """Read one row of :func:`counts_sql`."""
    scorable, above, at_high, inside, at_low = columns
    values = np.asarray([] if inside is None else inside, dtype=np.float64)
    return Counts(above, at_high, values, at_low, scorable)


def find_cuts(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    groups: Iterable[tuple[Any, Bracket, Counts]],
    keep: Wanted,
) -> list[Cut]:
    """Find the threshold of each group.

    Args:
        rows: SQL of the scorable rows with columns ``grp`` and ``val``.
        groups: the counts of each group's scan.
    """
    cuts = [_cut(connection, rows, *group, keep) for group in groups]
    return sorted(cuts, key=lambda cut: (cut.group is None, str(cut.group)))


def _cut(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    group: Any,
    bracket: Bracket,
    counts: Counts,
    keep: Wanted,
) -> Cut:
    kept = keep(counts.scorable)
    if not kept:
        return Cut(group, counts.scorable, 0)
    one = bracket.low == bracket.high
    sizes = [
        counts.above, counts.at_high, len(counts.inside), 0 if one else counts.at_low,
    ]  # fmt: skip
    rest = kept
    part = 0
    while part < len(sizes) and rest > sizes[part]:
        rest -= sizes[part]
        part += 1
    if part == 1:
        return Cut(group, counts.scorable, kept, bracket.high, sizes[1], rest)
    if part == 3:
        return Cut(group, counts.scorable, kept, bracket.low, sizes[3], rest)
    if part == 2:
        values, numbers = np.unique(-counts.inside, return_counts=True)
        values = -values
    else:  # the sample was wrong: count all values on that side
        side = (
            f"val > {number_sql(bracket.high)}" if part == 0 else f"val < {number_sql(bracket.low)}"
        )
        values, numbers = _counted(connection, rows, same_group(group), side)
    index, ties_kept = _kth(numbers, rest)
    return Cut(
        group, counts.scorable, kept, float(values[index]) + 0.0, int(numbers[index]), ties_kept
    )


def _kth(numbers: np.ndarray, k: int) -> tuple[int, int]:
    """Return the index of the k-th row's entry, and how many of its rows are in the first k."""
    reached = np.cumsum(numbers)
    index = int(np.searchsorted(reached, k))
    return index, int(k - (reached[index] - numbers[index]))


def _counted(
    connection: duckdb.DuckDBPyConnection, rows: str, group: str, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values, descending, and how many rows have each."""
    found = run_sql(
        connection,
        f"SELECT val, count(*) AS size FROM ({rows}) WHERE {group} AND {side} "
        "GROUP BY val ORDER BY val DESC",
    ).fetchnumpy()
    return np.asarray(found["val"]), np.asarray(found["size"])


def same_group(group: Any) -> str:
    """Return the SQL condition that a row belongs to a group."""
    return "grp IS NULL" if group is None else f"grp = {literal(group)}"


def literal(value: Any) -> str:
    """Return the value of a group as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return number_sql(value)
    return text_sql(str(value))


def values_sql(rows: Iterable[Sequence[str]], columns: str) -> str:
    """Return an inline table of SQL literals."""
    return f"(VALUES {', '.join('(' + ', '.join(row) + ')' for row in rows)}) AS {columns}"


def seeded_order_sql(seed: int) -> str:
    """SQL of the order among equal rows; see :func:`tied_positions`."""
    return f"md5({text_sql(f'{seed}:')} || coalesce(uid, shard || '/' || key))"


def tied_positions(connection: duckdb.DuckDBPyConnection, tied: str, seed: int) -> np.ndarray:
    """Return the sorted positions of the kept rows among those exactly at their group's threshold.

    Ties are ordered by md5(seed:identity), where the identity is the uid, or shard/key without one.
    So the choice depends neither on the order of files nor on DuckDB.

    Args:
        tied: SQL of the rows at the thresholds, with columns pos, uid, shard, key, grp, and
            places: how many rows of the row's group are kept.
    """
    order = f"{seeded_order_sql(seed)}, shard, key, pos"
    found = run_sql(
        connection,
        "SELECT pos FROM (SELECT pos, places, "
        f"row_number() OVER (PARTITION BY grp ORDER BY {order}) AS place FROM ({tied})) "
        "WHERE place <= places",
    ).fetchnumpy()
    return np.sort(np.asarray(found["pos"], dtype=np.int64))


def has_value(term: Term) -> str:
    """Return the SQL condition of rows with a value to rank by."""
    return f"{ranking(term)} IS NOT NULL"


def ranked_sql(rows: str, passing: str, by: Term, per: Term | None, *columns: str) -> str:
    """Return SQL of the rows that pass and have a value, as grp, val and other columns."""
    group = "NULL" if per is None else ranking(per)
    return (
        f"SELECT {', '.join([f'{group} AS grp', f'CAST({by.sql} AS DOUBLE) AS val', *columns])} "
        f"FROM {rows} WHERE {passing} AND {has_value(by)}"
    )
