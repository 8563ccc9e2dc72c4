"""What a run has finished is kept until its end, and for the same run only."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pairsift.dedup.stages import STATE, Stages, materialise
from pairsift.storage import Folder

IDENTITY = {"scores": ["a"], "distance": 4}


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    url = str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}"
    return Folder(url)


def test_finished_stages_are_read_by_the_next_run(
    connection: duckdb.DuckDBPyConnection, folder: Folder
) -> None:
    stages = Stages(folder, IDENTITY)
    assert not stages.has("pairs-0")
    stages.keep(connection, "pairs-0", "SELECT range AS x FROM range(3)")
    stages.keep_table("pairs-1", pa.table({"x": pa.array([7], pa.int64())}))
    again = Stages(folder, {"distance": 4, "scores": ["a"]})
    assert again.has("pairs-0")
    assert again.has("pairs-1")
    assert again.digest == stages.digest
    assert again.read("pairs-0")["x"].to_pylist() == [0, 1, 2]
    both = again.relation(connection, "pairs-0", "pairs-1")
    assert connection.execute(f"SELECT sum(x) FROM {both}").fetchall() == [(10,)]


def test_stages_without_rows_keep_their_columns(
    connection: duckdb.DuckDBPyConnection, folder: Folder
) -> None:
    stages = Stages(folder, IDENTITY)
    stages.keep(connection, "none", "SELECT 1::UTINYINT AS a, 'x' AS b WHERE false")
    assert stages.read("none").schema.names == ["a", "b"]
    assert connection.execute(f"FROM {stages.relation(connection, 'none')}").fetchall() == []


def test_another_run_begins_anew(connection: duckdb.DuckDBPyConnection, folder: Folder) -> None:
    Stages(folder, IDENTITY).keep(connection, "pairs-0", "SELECT 1 AS x")
    folder.write("groups.parquet", b"of an earlier run")
    other = Stages(folder, {**IDENTITY, "distance": 2})
    assert not other.has("pairs-0")
    assert folder.names() == {STATE, "groups.parquet"}


def test_a_stage_that_fails_is_not_finished(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    folder = Folder(str(tmp_path))
    stages = Stages(folder, IDENTITY)
    bad = "SELECT CASE WHEN range < 400000 THEN 1 ELSE error('stop') END FROM range(500000)"
    with pytest.raises((duckdb.Error, OSError), match="stop"):
        stages.keep(connection, "pairs-0", bad)
    assert not stages.has("pairs-0")
    assert not Stages(folder, IDENTITY).has("pairs-0")


def test_nothing_is_left_at_the_end(connection: duckdb.DuckDBPyConnection, folder: Folder) -> None:
    stages = Stages(folder, IDENTITY)
    stages.keep(connection, "pairs-0", "SELECT 1 AS x")
    stages.clear()
    assert folder.names() == set()
    assert not stages.has("pairs-0")


def test_a_query_becomes_a_table_with_so_many_rows(connection: duckdb.DuckDBPyConnection) -> None:
    assert materialise(connection, "t", "SELECT range AS x FROM range(5)") == 5
    assert materialise(connection, "t", "SELECT 1 AS x WHERE false") == 0  # it replaces the other
    assert connection.execute("SELECT * FROM t").fetchall() == []
