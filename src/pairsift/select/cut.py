"""The exact cut: the k best of n rows, without sorting them and without holding them.

One scan counts rows in 65,536 buckets of the ranking value. The k-th best row lies in one of
them, so a second scan counts the distinct values of that bucket alone: this gives the threshold.
Only where more rows share the threshold than are wanted are identities read and hashed. Buckets
are a monotone function of the value, so the answer is exact whatever the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np

from pairsift.select.expression import number_sql, text_sql
from pairsift.select.tables import run_sql

BUCKETS = 65_536
# With groups, each has buckets of its own; coarser ones keep their number in bounds.
GROUP_BUCKETS = 1_024


@dataclass(frozen=True, slots=True)
class Cut:
    """Where one group is cut: its `kept` best of `scorable` rows.

    Attributes:
        group: value of the ``--per`` expression; None for the whole, and for rows where it is null.
        threshold: the lowest ranking value kept; None if nothing is.
        ties: rows at the threshold, of which `ties_kept` are kept.
    """

    group: Any
    scorable: int
    kept: int
    threshold: float | None = None
    ties: int = 0
    ties_kept: int = 0


@dataclass(frozen=True, slots=True)
class Buckets:
    """A monotone map of a number to 0..count-1; values outside the span go to the ends."""

    low: float
    scale: float
    count: int

    @classmethod
    def spanning(cls, low: float | None, high: float | None, count: int) -> Buckets:
        """Even buckets between two values of the data; any other data is still mapped right."""
        if low is None or high is None or not math.isfinite(low):
            return cls(0.0, 1.0, count)
        scale = count / (high - low) if high > low and math.isfinite(high - low) else 1.0
        return cls(low, scale if math.isfinite(scale) else 1.0, count)

    def sql(self, value: str) -> str:
        """SQL of the bucket of a double that is neither null nor NaN."""
        place = f"({value} - {number_sql(self.low)}) * {number_sql(self.scale)}"
        return f"CAST(greatest(0e0, least({self.count - 1}e0, floor({place}))) AS INTEGER)"


def wanted(scorable: int, top: float | None, count: int | None) -> int:
    """How many of `scorable` rows to keep: floor(top * scorable) as decimal numbers, or `count`.

    Binary floats would make 0.29 of 100 rows 28.
    """
    if count is not None:
        return min(count, scorable)
    assert top is not None
    return math.floor(Fraction(repr(top)) * scorable)


def kth_best(values: np.ndarray, counts: np.ndarray, k: int) -> tuple[int, int]:
    """Where the k-th best row lies in counted values.

    Args:
        values: distinct values in descending order.
        counts: rows of each.
        k: from 1 to the sum of `counts`.

    Returns:
        index of its value, and how many rows of that value belong to the k best.
    """
    reached = np.cumsum(counts)
    index = int(np.searchsorted(reached, k))
    return index, int(k - (reached[index] - counts[index]))


def find_edges(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    buckets: Buckets,
    histogram: Sequence[tuple[Any, int, int]],
    top: float | None,
    count: int | None,
) -> list[Cut]:
    """Find each group's threshold.

    Args:
        rows: SQL of the scorable rows, with columns ``grp`` and ``val`` (a double).
        histogram: (group, bucket, rows) of those rows.
        top, count: see :func:`wanted`.
    """
    groups: dict[Any, list[tuple[int, int]]] = {}
    for group, bucket, size in histogram:
        groups.setdefault(group, []).append((bucket, size))
    plans: dict[Any, tuple[int, int, int, int]] = {}
    cuts: dict[Any, Cut] = {}
    for group, pairs in groups.items():
        pairs.sort(reverse=True)
        filled, sizes = np.array(pairs, dtype=np.int64).T
        scorable = int(sizes.sum())
        keep = wanted(scorable, top, count)
        cuts[group] = Cut(group, scorable, keep)
        if keep:
            index, rest = kth_best(filled, sizes, keep)
            plans[group] = (int(filled[index]), rest, scorable, keep)
    for group, (values, sizes) in _bucket_values(connection, rows, buckets, plans).items():
        _, rest, scorable, keep = plans[group]
        index, ties_kept = kth_best(values, sizes, rest)
        cuts[group] = Cut(group, scorable, keep, float(values[index]), int(sizes[index]), ties_kept)
    return [cuts[group] for group in sorted(cuts, key=lambda group: (group is None, str(group)))]


def _bucket_values(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    buckets: Buckets,
    plans: dict[Any, tuple[int, int, int, int]],
) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
    """Distinct values, descending, and their counts in the one bucket of each group."""
    if not plans:
        return {}
    bucket = buckets.sql("val")
    if len(plans) == 1:
        ((group, (edge, *_)),) = plans.items()
        same = "grp IS NULL" if group is None else f"grp = {literal(group)}"
        where = f"WHERE {same} AND {bucket} = {edge}"
        sql = f"SELECT grp, val, count(*) FROM ({rows}) {where} GROUP BY ALL"
    else:
        edges = ", ".join(f"({literal(group)}, {plan[0]})" for group, plan in plans.items())
        sql = (
            f"SELECT grp, val, count(*) FROM ({rows}) "
            f"JOIN (VALUES {edges}) AS edges(edge_group, edge) "
            f"ON grp IS NOT DISTINCT FROM edge_group AND {bucket} = edge GROUP BY grp, val"
        )
    found: dict[Any, list[tuple[float, int]]] = {}
    for group, value, size in run_sql(connection, sql).fetchall():
        found.setdefault(group, []).append((value, size))
    result = {}
    for group, pairs in found.items():
        pairs.sort(reverse=True)
        values, sizes = zip(*pairs, strict=True)
        result[group] = np.array(values), np.array(sizes, dtype=np.int64)
    return result


def literal(value: Any) -> str:
    """SQL of a group's value."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return number_sql(value)
    return text_sql(str(value))


def tied_positions(
    connection: duckdb.DuckDBPyConnection, rows: str, cuts: Sequence[Cut], seed: int
) -> np.ndarray:
    """Positions, sorted, of the rows kept among those at their group's threshold.

    The order among ties is that of md5(seed:identity), the identity being the uid, or shard/key
    without one: the choice depends neither on the order of files nor on DuckDB.

    Args:
        rows: SQL of the scorable rows with columns grp, val, pos, uid, shard, key.
    """
    open_cuts = [cut for cut in cuts if cut.ties_kept < cut.ties]
    if not open_cuts:
        return np.empty(0, dtype=np.int64)
    order = f"md5({text_sql(f'{seed}:')} || coalesce(uid, shard || '/' || key)), shard, key, pos"
    if len(open_cuts) == 1:
        (cut,) = open_cuts
        assert cut.threshold is not None
        same = "grp IS NULL" if cut.group is None else f"grp = {literal(cut.group)}"
        sql = (
            f"SELECT pos FROM ({rows}) WHERE {same} AND val = {number_sql(cut.threshold)} "
            f"ORDER BY {order} LIMIT {cut.ties_kept}"
        )
    else:
        edges = ", ".join(
            f"({literal(cut.group)}, {number_sql(cut.threshold or 0.0)}, {cut.ties_kept})"
            for cut in open_cuts
        )
        sql = (
            f"SELECT pos FROM (SELECT pos, places, "
            f"row_number() OVER (PARTITION BY grp ORDER BY {order}) AS place FROM ({rows}) "
            f"JOIN (VALUES {edges}) AS edges(edge_group, edge, places) "
            "ON grp IS NOT DISTINCT FROM edge_group AND val = edge) WHERE place <= places"
        )
    positions = run_sql(connection, sql).fetchnumpy()["pos"]
    return np.sort(np.asarray(positions, dtype=np.int64))
