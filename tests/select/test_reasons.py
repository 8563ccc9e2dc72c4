"""What each condition removes, counted from codes."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.expressions.database import open_database, run_sql
from pairsift.select.reasons import Reasons


def brute_force(held: np.ndarray) -> tuple[list[int], list[int]]:
    """What passed so far, and what each removes alone, of (rows, conditions)."""
    places = range(held.shape[1])
    passed = [int(held[:, : place + 1].all(axis=1).sum()) for place in places]
    alone = [0] + [int((held[:, 0] & ~held[:, place]).sum()) for place in places[1:]]
    return passed, alone


@pytest.mark.parametrize("conditions", [1, 2, 8, 9, 20])
@pytest.mark.parametrize("grouped", [False, True])
def test_rows_are_counted_as_one_by_one(conditions: int, grouped: bool) -> None:
    rng = np.random.default_rng(conditions)
    values = rng.integers(0, 10, (500, conditions))
    names = [f"c{place}" for place in range(conditions)]
    # Nulls, which pass no condition.
    rows = ", ".join(f"({', '.join(str(v) if v else 'NULL' for v in row)})" for row in values)
    reasons = Reasons([f"{name} > 1 OR {name} > 2" for name in names])
    with open_database() as connection:
        run_sql(
            connection, f"CREATE TABLE t AS FROM (VALUES {rows}) t({', '.join(names)}) OFFSET 0"
        )
        size, tail = ("count(*)", " GROUP BY ALL") if grouped else ("1", "")
        found = run_sql(connection, f"SELECT {size}, {reasons.sql} FROM t{tail}").fetchall()
    sizes, *codes = np.array(found).T
    assert len(codes) == reasons.columns
    for part in np.array_split(np.arange(len(sizes)), 3):  # batches add up
        passing = reasons.add([code[part] for code in codes], sizes[part] if grouped else None)
        assert len(passing) == len(part)
    assert reasons.rows == 500
    assert (reasons.passed, reasons.alone) == brute_force(values > 1)


def test_the_rows_that_meet_all_are_told() -> None:
    reasons = Reasons(["x > 2", "x < 5"])
    with open_database() as connection:
        code = run_sql(connection, f"SELECT {reasons.sql} FROM range(7) t(x)").fetchnumpy()
    (codes,) = code.values()
    assert np.flatnonzero(reasons.add([np.asarray(codes)])).tolist() == [3, 4]
