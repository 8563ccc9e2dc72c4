"""The rows that a cut keeps, by position and in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.expressions.database import open_database, run_sql
from pairsift.select import Selection, select
from pairsift.select.kept import read_positions
from tests.score_folders import score_folder, score_table, uid_of

ITM = [5.0, 9.0, 5.0, 1.0, 5.0, 9.0, 5.0, 2.0]
KINDS = ["a", "a", "b", "a", "b", "b", "a", "b"]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> str:
    tables = {}
    for number in range(2):
        part = slice(4 * number, 4 * number + 4)
        tables[f"s{number}"] = score_table(
            f"s{number}", list("0123"), {"itm": ITM[part], "kind": KINDS[part]},
            uids=[uid_of(place) for place in range(part.start, part.stop)],
        )  # fmt: skip
    return score_folder(tmp_path_factory.mktemp("scores"), tables)


def places(selection: Selection) -> list[int]:
    """Numbers of the kept rows in both tables together."""
    return [
        4 * int(shard.shard[1:]) + row
        for shard in selection.shards()
        for row in shard.rows.tolist()
    ]


@pytest.mark.parametrize("count", range(9))
def test_without_groups_the_best_rows_are_kept_in_their_order(
    scores: str, tmp_path: Path, count: int
) -> None:
    found = places(select(scores, count=count, by="itm", out=tmp_path / "kept"))
    assert found == sorted(found)
    assert (
        sorted((ITM[place] for place in found), reverse=True) == sorted(ITM, reverse=True)[:count]
    )


@pytest.mark.parametrize("count", range(5))
def test_each_group_has_its_own_best_rows(scores: str, tmp_path: Path, count: int) -> None:
    found = places(select(scores, count=count, by="itm", per="kind", out=tmp_path / "kept"))
    assert found == sorted(found)
    for kind in "ab":
        there = [value for value, name in zip(ITM, KINDS, strict=True) if name == kind]
        kept = [ITM[place] for place in found if KINDS[place] == kind]
        assert sorted(kept, reverse=True) == sorted(there, reverse=True)[:count]


@pytest.mark.slow
def test_the_seed_decides_among_equal_rows(scores: str, tmp_path: Path) -> None:
    ties = {0, 2, 4, 6}
    drawn = []
    for seed in range(8):
        found = places(select(scores, count=4, by="itm", seed=seed, out=tmp_path / "kept"))
        assert {1, 5} < set(found) <= {1, 5} | ties
        drawn.append(tuple(found))
    assert len(set(drawn)) > 2


def test_of_tied_rows_only_the_listed_ones_are_kept() -> None:
    with open_database() as connection:
        run_sql(
            connection, "CREATE TABLE t AS SELECT range AS pos, range % 2 = 0 AS tied FROM range(8)"
        )
        sql = "SELECT pos, tied FROM t ORDER BY pos"
        ties = np.array([2, 6])
        assert np.concatenate(list(read_positions(connection, sql))).tolist() == list(range(8))
        found = np.concatenate(list(read_positions(connection, sql, ties)))
        assert found.tolist() == [1, 2, 3, 5, 6, 7]
        nothing = "SELECT pos, true FROM t WHERE pos = 3"
        assert list(read_positions(connection, nothing, ties)) == []
