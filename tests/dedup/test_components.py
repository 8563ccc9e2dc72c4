"""Connected components of pairs, compared with union-find."""

from __future__ import annotations

import itertools

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pairsift.dedup.components import STARS, connect


def components(pairs: list[tuple[int, int]]) -> dict[int, int]:
    """Union-find in memory: each hash, and the smallest of its component."""
    parent: dict[int, int] = {}

    def root(one: int) -> int:
        while parent.setdefault(one, one) != one:
            one = parent[one]
        return one

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return {one: root(one) for one in parent}


@pytest.mark.parametrize("shape", ["path", "tree", "random", "none"])
def test_components_are_those_of_union_find(
    connection: duckdb.DuckDBPyConnection, shape: str
) -> None:
    rng = np.random.default_rng(7)
    names = rng.permutation(3000)
    pairs = {
        "path": list(itertools.pairwise(names)),
        "tree": [(names[place], names[(place - 1) // 3]) for place in range(1, 3000)],
        "random": [tuple(rng.integers(0, 3000, 2)) for _ in range(1200)],
        "none": [],
    }[shape]
    ordered = [(int(max(pair)), int(min(pair))) for pair in pairs if pair[0] != pair[1]]
    columns = [pa.array([pair[side] for pair in ordered], pa.uint64()) for side in (0, 1)]
    connection.register("pairs", pa.table(columns, names=["a", "b"]))
    connect(connection, "pairs")
    found = dict(connection.execute(f"SELECT a, b FROM {STARS}").fetchall())
    expected = components(ordered)
    assert found == {one: least for one, least in expected.items() if one != least}
