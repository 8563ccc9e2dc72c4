"""DuckDB: it spills, reads any path, and tells errors in a sentence."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.database import (
    arrow_batches,
    arrow_reader,
    file_of,
    file_sql,
    literal_path,
    open_database,
    register_filesystem,
    run_sql,
    score_columns,
)
from pairsift.expressions.terms import Kind
from pairsift.storage import Folder


def test_what_was_spilled_is_gone_at_the_end_also_after_an_error(tmp_path: Path) -> None:
    with open_database("100MB", threads=2, scratch=str(tmp_path)) as connection:
        (spill,) = tmp_path.iterdir()
        assert spill.name.startswith("pairsift-duckdb-")
        assert run_sql(connection, "SELECT current_setting('threads')").fetchall() == [(2,)]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), open_database(scratch=str(tmp_path)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_memory_limit_that_is_none_is_refused() -> None:
    with (
        pytest.raises(PairsiftError, match="DuckDB cannot start: .*Memory "),
        open_database("many"),
    ):
        pass


def test_too_little_memory_is_told_with_the_option() -> None:
    with (
        open_database("1MB", threads=1) as connection,
        pytest.raises(PairsiftError, match="more than its memory limit.*raise --memory-limit"),
    ):
        run_sql(connection, "SELECT max(x) FROM (SELECT array_agg(x) x FROM range(1000000) t(x))")


@pytest.mark.parametrize("condition", ["x <= 5", "isfinite(x)"])
def test_a_tables_statistics_which_leave_nan_out_are_not_believed(
    tmp_path: Path, condition: str
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": pa.array([1.0, float("nan")], pa.float32())}), path)
    with open_database() as connection:
        sql = f"SELECT x FROM read_parquet({file_sql(str(path))}) WHERE {condition}"
        assert run_sql(connection, sql).fetchall() == [(1.0,)]


@pytest.mark.parametrize("name", ["a*.parquet", "a?.parquet", "[ab].parquet", "it's.parquet", "犬"])
def test_a_path_is_no_pattern(tmp_path: Path, name: str) -> None:
    for number, other in enumerate((name, "ab.parquet", "a.parquet")):
        pq.write_table(pa.table({"x": [number]}), tmp_path / other)
    with open_database() as connection:
        sql = f"SELECT x FROM read_parquet({file_sql(str(tmp_path / name))})"
        assert run_sql(connection, sql).fetchall() == [(0,)]


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(PairsiftError, match="the path is not UTF-8; rename its folders and files"):
        literal_path("/data/\udcff.parquet")


def test_files_of_any_storage_are_read() -> None:
    folder = Folder("memory://of_database")
    folder.create()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [3]}), sink)
    folder.write("a.parquet", sink.getvalue().to_pybytes())
    with open_database() as connection:
        register_filesystem(connection, fsspec.filesystem("memory"))
        path = file_of(connection, folder, "a.parquet")  # registers it again
        assert run_sql(connection, f"SELECT x FROM read_parquet({path})").fetchall() == [(3,)]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 no table PAR1", b"x" * 1000])
def test_a_damaged_table_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with (
        open_database() as connection,
        pytest.raises(
            PairsiftError, match="a table cannot be read: .*a.parquet.*remove it and score again"
        ),
    ):
        run_sql(connection, f"SELECT * FROM read_parquet({file_sql(str(path))})")


def test_errors_that_come_while_batches_are_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    whole = tmp_path / "0.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(100_000)}), whole)
    pq.write_table(pa.table({"x": [1.0]}), path)
    path.write_bytes(path.read_bytes().replace(b"\x15", b"\xff"))
    files = f"[{file_sql(str(whole))}, {file_sql(str(path))}]"
    with open_database(threads=1) as connection:
        batches = arrow_batches(connection, f"SELECT x FROM read_parquet({files})", 2048)
        with pytest.raises(PairsiftError, match="a table cannot be read: .*score again"):
            list(batches)
        # Nothing of the user's can mend this. DuckDB 1.x raises its own error.
        batches = arrow_batches(
            connection, "SELECT (30000 + x)::SMALLINT FROM range(9000) t(x)", 2048
        )
        with pytest.raises((OSError, duckdb.Error), match="INT16"):
            list(batches)


def test_our_own_mistakes_stay_errors_of_the_database() -> None:
    with open_database() as connection, pytest.raises(duckdb.ParserException):
        run_sql(connection, "SELEC 1")


@pytest.mark.slow
def test_rows_are_read_in_batches() -> None:
    with open_database() as connection:
        reader = arrow_reader(connection, "SELECT x FROM range(10000) t(x)", 2048)
        sizes = [len(batch) for batch in reader]
        del reader
        gc.collect()
    assert sum(sizes) == 10_000
    assert len(sizes) > 1


def test_expressions_name_all_columns_but_those_of_positions() -> None:
    with open_database() as connection:
        run_sql(connection, "CREATE TABLE t (pos BIGINT, file_row_number BIGINT, \"a b\" FLOAT, "
                            "tags VARCHAR[])")  # fmt: skip
        found: dict[str, Any] = score_columns(connection, "t")
    assert {name: term.kind for name, term in found.items()} == {
        "a b": Kind.NUMBER, "tags": Kind.OTHER,
    }  # fmt: skip
    assert found["a b"].sql == '"a b"'
