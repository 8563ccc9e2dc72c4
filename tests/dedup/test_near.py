"""The index finds every near pair, once, whatever the distance and the size it is planned for."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pairsift.dedup.near import MAX_DISTANCE, Index


def crowd(seed: int, groups: int = 300) -> np.ndarray:
    """Distinct hashes, many of them a few bits from another."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**64, groups, dtype=np.uint64)
    found = [base]
    for _ in range(3):
        bits = rng.integers(0, 64, (groups, 10)).astype(np.uint64)
        flips = np.where(rng.random((groups, 10)) < rng.random((groups, 1)), 1, 0)
        mask = np.bitwise_xor.reduce(flips.astype(np.uint64) << bits, axis=1)
        found.append(base ^ mask)
    return np.unique(np.concatenate(found))


def near_pairs(hashes: np.ndarray, others: np.ndarray, distance: int) -> set[tuple[int, int]]:
    differing = (hashes[:, None] ^ others[None])[..., None].view(np.uint8)
    close = np.unpackbits(differing, axis=-1).sum(axis=-1) <= distance
    rows, columns = np.nonzero(close)
    return set(zip(hashes[rows].tolist(), others[columns].tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("planned_for", [1_000, 10_000_000])
@pytest.mark.parametrize("distance", [1, 2, 4, 6, 9])
def test_all_pairs_are_found_once(
    connection: duckdb.DuckDBPyConnection, distance: int, planned_for: int
) -> None:
    hashes = crowd(distance)
    connection.register("given", pa.table({"h": pa.array(hashes)}))
    index = Index.plan(planned_for, planned_for, distance)
    found = [
        row
        for sql in index.joins("given", "given", self_join=True)
        for row in connection.execute(sql).fetchall()
    ]
    expected = {(a, b) for a, b in near_pairs(hashes, hashes, distance) if a > b}
    assert len(expected) > 50
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_pairs_of_two_lists(connection: duckdb.DuckDBPyConnection) -> None:
    hashes = crowd(5)
    left, right = hashes[::2], hashes[1::3]
    connection.register("one", pa.table({"h": pa.array(left)}))
    connection.register("two", pa.table({"h": pa.array(right)}))
    index = Index.plan(len(left), len(right), 8)
    found = [
        row
        for sql in index.joins("one", "two", self_join=False)
        for row in connection.execute(sql).fetchall()
    ]
    assert len(found) == len(set(found))
    assert set(found) == near_pairs(left, right, 8)


@pytest.mark.parametrize("distance", range(MAX_DISTANCE + 1))
@pytest.mark.parametrize("rows", [10, 10_000, 10**7, 10**9])
def test_the_blocks_of_any_plan_are_all_bits(distance: int, rows: int) -> None:
    index = Index.plan(rows, rows, distance)
    assert sum(index.blocks) == 2**64 - 1
    assert all(index.blocks)
    # Pairs within the distance agree in enough blocks.
    assert len(index.blocks) - distance >= index.agreeing >= 1
