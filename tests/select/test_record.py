"""A selection on disk: what its files hold, and what is told when they do not fit any more."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.select import KeptShard, Selection, read_selection, select
from pairsift.select.record import KEPT_SCHEMA, ChangedTableError, Cut, Drop, Record
from tests.score_folders import random_scores, score_folder, score_table


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three tables of four rows; itm rises from 0 to 11."""
    tables = {
        f"s{number}": score_table(
            f"s{number}", [f"{4 * number + row:02d}" for row in range(4)],
            {"itm": [4.0 * number + row for row in range(4)]},
        )
        for number in range(3)
    }  # fmt: skip
    return score_folder(tmp_path_factory.mktemp("scores"), tables)


@pytest.fixture(scope="module")
def kept(scores: str, tmp_path_factory: pytest.TempPathFactory) -> Selection:
    where = "itm >= 3 and (itm < 4 or itm > 9)"
    return select(scores, where=where, out=tmp_path_factory.mktemp("selection"))


def shard_of(url: str, rows: list[int], name: str = "s0") -> KeptShard:
    """Kept rows of a selection that does not say what its tables were."""
    return KeptShard(url, name, np.array(rows, np.int32))


def test_kept_rows_come_shard_by_shard(kept: Selection) -> None:
    found = {shard.shard: shard.rows.tolist() for shard in kept.shards()}
    assert found == {"s0": [3], "s2": [2, 3]}
    assert {shard.rows.dtype for shard in kept.shards()} == {np.dtype("int32")}


def test_the_rows_of_a_shard_may_lie_in_several_row_groups(scores: str, tmp_path: Path) -> None:
    everything = select(scores, out=tmp_path / "all")
    path = everything.rows_path()
    pq.write_table(pq.read_table(path), path, row_group_size=3)
    assert pq.ParquetFile(path).num_row_groups == 4
    found = [(shard.shard, shard.rows.tolist()) for shard in everything.shards()]
    assert found == [(name, [0, 1, 2, 3]) for name in ("s0", "s1", "s2")]


def test_a_selection_comes_back_as_it_was(kept: Selection) -> None:
    found = read_selection(kept.path or "")
    assert found.record == kept.record
    assert found.tables == kept.tables
    assert pq.read_schema(found.rows_path()).remove_metadata() == KEPT_SCHEMA
    assert json.loads((Path(kept.path or "") / "selection.json").read_text())["kept"] == 3


@pytest.mark.parametrize("threshold", [0.5, math.inf, -math.inf, None])
def test_a_record_survives_json_with_infinite_thresholds(threshold: float | None) -> None:
    cuts = [Cut("en", 5, 2, threshold, 1, 1), Cut(None, 5, 0)]
    record = Record({}, [], {}, 10, {}, [Drop("itm >= 3", 2, 4)], cuts, 2, {"p70(itm)": 3.0})
    text = json.dumps(record.to_json(), allow_nan=False)
    assert Record.from_json(json.loads(text)) == record


def test_a_column_of_the_kept_rows_is_read(kept: Selection) -> None:
    keys = [shard.table(["key"])["key"].to_pylist() for shard in kept.shards()]
    assert keys == [["03"], ["10", "11"]]


def test_where_no_row_is_kept_the_schema_is_known(scores: str, tmp_path: Path) -> None:
    nothing = select(scores, where="itm > 1000", out=tmp_path / "none")
    assert list(nothing.shards()) == []
    assert "itm" in nothing.schema().names


def test_without_tables_there_is_no_schema(tmp_path: Path) -> None:
    url = score_folder(tmp_path / "s", {"a": score_table("a", ["1"], {"itm": [1.0]})})
    nothing = select(url, where="itm > 1000", out=tmp_path / "none")
    (tmp_path / "s/a.parquet").unlink()
    with pytest.raises(PairsiftError, match="are not in .* any more; restore them or select again"):
        nothing.schema()


def test_a_selection_that_only_counted_has_no_rows(scores: str) -> None:
    counted = select(scores)
    assert counted.kept == 12
    with pytest.raises(PairsiftError, match="only counted rows and wrote none; .* --out"):
        list(counted.shards())


@pytest.mark.parametrize("place", ["gone", "empty", "file"])
def test_what_is_no_selection_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        PairsiftError, match=f"{place} is not a selection .*`pairsift select` wrote"
    ):
        read_selection(tmp_path / place)


def test_a_file_of_another_kind_in_its_place_is_told(tmp_path: Path, scores: str) -> None:
    for content in (b"", b"no parquet", (Path(scores) / "s0.parquet").read_bytes()):
        (tmp_path / "kept.parquet").write_bytes(content)
        with pytest.raises(PairsiftError, match="was not written by this version"):
            read_selection(tmp_path)


def test_columns_are_checked_by_name(kept: Selection) -> None:
    assert kept.check_columns([" itm", "key", "itm "], "--columns") == ["itm", "key"]
    with pytest.raises(PairsiftError, match="--columns: the scores have no column 'clip'; they"):
        kept.check_columns(["clip"], "--columns")
    with pytest.raises(PairsiftError, match="no column ''"):
        kept.check_columns([" "], "--columns")


def test_columns_of_a_joined_table_are_told_apart(kept: Selection) -> None:
    query = {**kept.record.query, "joins": [{"name": "clip", "path": "p", "on": "uid"}]}
    joined = replace(kept, record=replace(kept.record, query=query))
    with pytest.raises(PairsiftError, match="'clip.score' belongs to a table of --join"):
        joined.check_columns(["clip.score"], "--columns")


def test_a_missing_or_damaged_table_is_told(tmp_path: Path) -> None:
    url, _ = random_scores(tmp_path / "s", np.random.default_rng(0), shards=1)
    shard = shard_of(url, [0], "00000")
    (tmp_path / "s/00000.parquet").write_bytes(b"PAR1 and nothing more")
    for read in (shard.table, shard.schema, shard.facts, shard.metadata, shard.byte_ranges):
        with pytest.raises(PairsiftError, match="is damaged .*; remove it, run `pairsift score`"):
            read()
    (tmp_path / "s/00000.parquet").unlink()
    with pytest.raises(PairsiftError, match="does not exist any more; restore it or select again"):
        shard.table()


def test_rows_that_a_table_does_not_have_are_told(scores: str) -> None:
    assert shard_of(scores, [0, 3]).table(["key"])["key"].to_pylist() == ["00", "03"]
    assert len(shard_of(scores, []).table()) == 0
    with pytest.raises(ChangedTableError, match="has 4 rows, fewer than when it was selected from"):
        shard_of(scores, [0, 4]).table()


def test_facts_tell_the_source(scores: str) -> None:
    facts = shard_of(scores, [0]).facts()
    assert (facts["source"], facts["source_kind"]) == ("/data/s0.tar", "webdataset")
