"""Rows of score folders in one relation, with what a selection keeps of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.report.table import open_rows, split_position
from pairsift.select import select
from pairsift.select.tables import ROW_BITS
from tests.score_folders import random_scores, score_folder, score_table


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_scores(tmp_path_factory.mktemp("s"), np.random.default_rng(0))[0]


def test_rows_hold_scores_steps_and_what_is_kept(scores: str, tmp_path: Path) -> None:
    kept = select(scores, where="itm >= 61", out=tmp_path / "kept")
    other = select(scores, where="odf >= 50", out=tmp_path / "other")
    with open_rows(scores, kept, other) as rows:
        assert [column.name for column in rows.columns] == ["itm", "odf"]
        assert (rows.slices, rows.kinds, rows.selected) == (["language"], ["language"], True)
        found = rows.fetch(
            "SELECT count(*), count(*) FILTER (kept), count(*) FILTER (compared), "
            "count(*) FILTER (kept = (status = 'ok' AND coalesce(itm >= 61, false))) FROM rows"
        )
    assert found == [(120, kept.kept, other.kept, 120)]


def test_without_a_selection_every_ok_row_is_kept(scores: str) -> None:
    with open_rows(scores) as rows:
        assert not rows.selected
        assert rows.fetch("SELECT count(*) FROM rows WHERE kept <> (status = 'ok')") == [(0,)]


def test_details_are_read_of_the_wanted_rows_only(scores: str) -> None:
    positions = [5, (2 << ROW_BITS) | 39, 5, (1 << ROW_BITS) | 0]
    with open_rows(scores) as rows:
        assert rows.details([]) == {}
        found = rows.details(positions)
        assert rows.details([(1 << ROW_BITS) | 4000]) == {}  # no such row
    assert set(found) == set(positions)
    assert {pos: (each.shard, each.key) for pos, each in found.items()} == {
        5: ("00000", "000000005"),
        (2 << ROW_BITS) | 39: ("00002", "000020039"),
        (1 << ROW_BITS): ("00001", "000010000"),
    }
    assert split_position((2 << ROW_BITS) | 39) == (2, 39)


def test_a_selection_of_moved_folders_is_matched_by_their_number(tmp_path: Path) -> None:
    scores, _ = random_scores(tmp_path / "s", np.random.default_rng(0))
    kept = select(scores, where="itm >= 61", out=tmp_path / "kept")
    moved = (tmp_path / "s").rename(tmp_path / "moved")
    with open_rows(str(moved), kept) as rows:
        assert rows.fetch("SELECT count(*) FROM rows WHERE kept") == [(kept.kept,)]


def test_a_selection_of_more_folders_or_tables_is_refused(scores: str, tmp_path: Path) -> None:
    other, _ = random_scores(tmp_path / "s", np.random.default_rng(1))
    both = select([scores, other], out=tmp_path / "both")
    with (
        pytest.raises(
            PairsiftError, match="was made from .*, but the report is for .* same folders"
        ),
        open_rows(scores, both),
    ):
        pass
    kept = select(other, out=tmp_path / "kept")
    (tmp_path / "s/00001.parquet").unlink()
    with (
        pytest.raises(PairsiftError, match=f"keeps {kept.kept} rows, of which only .* lie in"),
        open_rows(other, kept),
    ):
        pass


def test_a_selection_of_another_scorer_is_refused(scores: str, tmp_path: Path) -> None:
    other, _ = random_scores(tmp_path / "s", np.random.default_rng(0), fingerprint={"scorer": "x"})
    kept = select(other, out=tmp_path / "kept")
    with (
        pytest.raises(PairsiftError, match="made from other scores than .*fingerprints differ"),
        open_rows(scores, kept),
    ):
        pass


def test_columns_without_a_number_are_no_scores(tmp_path: Path) -> None:
    table = score_table(
        "a", list("abcd"),
        {"itm": [math.nan] * 4, "tiny": [0, 1e-13, 2e-13, 1e-12], "none": [math.nan] * 4,
         "infinite": [math.inf, -math.inf, 1.0, 2.0]},
    )  # fmt: skip
    with open_rows(score_folder(tmp_path / "s", {"a": table})) as rows:
        assert [column.name for column in rows.columns] == ["itm", "tiny", "infinite"]


def test_addresses_divide_no_rows(tmp_path: Path) -> None:
    names = [f"https://example.org/{row}" for row in range(60)]
    columns = {"itm": [1.0] * 60, "url": names, "domain": [name[:9] for name in names]}
    table = score_table("a", [str(row) for row in range(60)], columns)
    with open_rows(score_folder(tmp_path / "s", {"a": table})) as rows:
        assert rows.slices == ["url", "domain"]
        assert rows.kinds == ["domain"]


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    scores, _ = random_scores(tmp_path / "s", np.random.default_rng(0))
    kept = select(scores, out=tmp_path / "kept")
    path = tmp_path / "s/00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(3), path)
    with (
        pytest.raises(
            PairsiftError, match="00001.parquet .*not the one that the selection was made"
        ),
        open_rows(scores, kept),
    ):
        pass
