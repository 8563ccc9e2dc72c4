"""Score tables of folders: found, checked, and opened as one relation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.database import open_database, run_sql
from pairsift.select.tables import ROW_BITS, ScoreTables, find_score_tables
from tests.score_folders import score_folder, score_table


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database() as connection:
        yield connection


def folder(path: Path, *rows: int, fingerprint: str = "1") -> str:
    """A folder with a table of each of these numbers of rows, itm rising through all of them."""
    tables, start = {}, 0
    for number, count in enumerate(rows):
        keys = [f"{start + row:04d}" for row in range(count)]
        tables[f"{number:02d}"] = score_table(
            f"{number:02d}", keys, {"itm": [float(start + row) for row in range(count)]}
        )
        start += count
    return score_folder(path, tables, fingerprint={"scorer": "test", "version": fingerprint})


def sampled(connection: duckdb.DuckDBPyConnection, tables: ScoreTables, rows: int) -> int:
    ((found,),) = run_sql(
        connection, f"SELECT count(*) FROM ({tables.sample_sql(rows)})"
    ).fetchall()
    return int(found)


def test_a_position_is_the_number_of_the_table_and_the_row(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    urls = [folder(tmp_path / "a", 2, 1), folder(tmp_path / "b", 1)]
    tables = find_score_tables(connection, urls)
    assert [(t.folder, t.shard, t.rows) for t in tables.tables] == [
        (0, "00", 2), (0, "01", 1), (1, "00", 1),
    ]  # fmt: skip
    found = run_sql(connection, f"SELECT pos, key FROM ({tables.scan_sql()}) ORDER BY 1").fetchall()
    assert [(pos >> ROW_BITS, pos & (1 << ROW_BITS) - 1, key) for pos, key in found] == [
        (0, 0, "0000"), (0, 1, "0001"), (1, 0, "0002"), (2, 0, "0000"),
    ]  # fmt: skip
    assert tables.roots == ("/data", "/data")


@pytest.mark.parametrize(
    ("sizes", "rows", "expected"),
    [
        ((10,) * 8, 1000, 80),  # all
        ((10,) * 8, 40, 40),
        ((10,) * 8, 11, 10),
        ((10,) * 8, 1, 10),  # one table at least
        ((40,), 20, 40),
        ((40,), 1, 40),
        ((40, 40), 10, 40),
        ((40,), 0, 40),
    ],
)
def test_a_sample_is_of_whole_tables_and_never_empty(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    sizes: tuple[int, ...],
    rows: int,
    expected: int,
) -> None:
    tables = find_score_tables(connection, folder(tmp_path / "s", *sizes))
    assert sampled(connection, tables, rows) == expected


def test_tables_without_rows_are_tables(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    tables = find_score_tables(connection, folder(tmp_path / "s", 0, 0))
    assert [table.rows for table in tables.tables] == [0, 0]
    assert sampled(connection, tables, 10) == 0


def test_a_folder_whose_manifest_is_gone_has_no_root(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    url = folder(tmp_path / "s", 1)
    (tmp_path / "s/_run.json").unlink()
    assert find_score_tables(connection, url).roots == (None,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", "there is no folder .*gone; give the folder that `pairsift score` wrote"),
        ("empty", "empty holds no score tables .*; run `pairsift score` into it first"),
        ("file.parquet", "file.parquet is a file; give the folder"),
    ],
)
def test_places_without_scores_are_named(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, name: str, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.parquet").write_bytes(b"x")
    with pytest.raises(PairsiftError, match=words):
        find_score_tables(connection, str(tmp_path / name))


def test_no_folder_and_the_same_folder_twice_are_refused(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    url = folder(tmp_path / "s", 1)
    with pytest.raises(PairsiftError, match="no score folder given"):
        find_score_tables(connection, [])
    with pytest.raises(PairsiftError, match="is given twice"):
        find_score_tables(connection, [url, f"{url}/"])


def test_tables_scored_differently_are_told_by_field(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    urls = [folder(tmp_path / "a", 1), folder(tmp_path / "b", 1, fingerprint="2")]
    with pytest.raises(PairsiftError, match=r"version is '1' in one and '2' in the other.*--join"):
        find_score_tables(connection, urls)


def test_a_table_of_something_else_is_named(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    url = folder(tmp_path / "s", 1)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "s/other.parquet")
    with pytest.raises(PairsiftError, match=r"other\.parquet"):
        find_score_tables(connection, url)
