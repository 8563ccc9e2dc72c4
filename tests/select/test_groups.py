"""Groups of copies and marks, as `pairsift dedup` writes them, matched with score tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.database import open_database, run_sql
from pairsift.pair import Status
from pairsift.select.groups import (
    GROUPS,
    MARKS,
    RECORD_KEY,
    TABLE,
    has_marks,
    load_groups,
    made_of,
    marked_sql,
)
from pairsift.select.tables import ScoreTables, find_score_tables
from tests.score_folders import score_folder, score_table, uid_of


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database() as connection:
        yield connection


@pytest.fixture
def tables(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> ScoreTables:
    """One table of four rows, of which the last has failed."""
    statuses = [Status.OK] * 3 + [Status.IMAGE_CORRUPT]
    table = score_table(
        "s0", list("abcd"), {"itm": [1.0, 2.0, 3.0, 4.0]}, statuses=statuses,
        uids=[uid_of(row) for row in range(4)],
    )  # fmt: skip
    found = find_score_tables(connection, score_folder(tmp_path / "scores", {"s0": table}))
    run_sql(connection, f"CREATE VIEW scored AS {found.scan_sql()}")
    return found


def found_by_dedup(
    folder: Path, keys: Sequence[str], *, name: str = GROUPS, record: Any = None, uid: int = 0
) -> str:
    """A table that puts these rows into one group."""
    folder.mkdir(exist_ok=True)
    table = pa.table(
        {
            "shard": ["s0"] * len(keys),
            "key": list(keys),
            "uid": [uid_of("abcd".find(key) + uid) for key in keys],
            "group": ["g"] * len(keys),
        }
    )
    text = json.dumps(record or {})
    pq.write_table(table.replace_schema_metadata({RECORD_KEY: text}), folder / name)
    return str(folder)


def test_grouped_rows_have_their_group_and_failed_ones_none(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, tables: ScoreTables
) -> None:
    load_groups(connection, found_by_dedup(tmp_path / "g", ["a", "c", "d"]), tables)
    found = run_sql(connection, f"SELECT pos, copy_group FROM {TABLE} ORDER BY pos").fetchall()
    assert found == [(0, "g"), (2, "g")]


def test_marked_rows_are_found_by_position(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, tables: ScoreTables
) -> None:
    url = found_by_dedup(tmp_path / "m", ["b", "d"], name=MARKS)
    assert run_sql(connection, marked_sql(connection, url, tables)).fetchall() == [(1,)]
    assert has_marks(url)


def test_a_list_of_uids_is_no_folder_of_marks(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("")
    for place in ("list.txt", "", "gone"):
        assert not has_marks(str(tmp_path / place))


def test_nothing_found_is_no_mistake(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, tables: ScoreTables
) -> None:
    load_groups(connection, found_by_dedup(tmp_path / "g", []), tables)
    assert run_sql(connection, f"SELECT count(*) FROM {TABLE}").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("keys", "uid", "words"),
    [
        (["x"], 0, "its rows look like 's0/x', these like 's0/a'"),
        (["a", "b"], 5, "'s0/a' has another uid there"),
    ],
)
def test_what_was_found_in_another_pool_is_refused(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    tables: ScoreTables,
    keys: list[str],
    uid: int,
    words: str,
) -> None:
    with pytest.raises(PairsiftError, match=words):
        load_groups(connection, found_by_dedup(tmp_path / "g", keys, uid=uid), tables)
    marks = found_by_dedup(tmp_path / "m", keys, name=MARKS, uid=uid)
    with pytest.raises(PairsiftError, match=words):
        marked_sql(connection, marks, tables)


@pytest.mark.parametrize(
    ("on", "command"), [("image", "dedup"), ("embedding", "semantic-duplicates")]
)
def test_tables_that_have_changed_since_are_refused(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    tables: ScoreTables,
    on: str,
    command: str,
) -> None:
    now = made_of(tables)
    assert list(now) == list(tables.folders)
    good = found_by_dedup(tmp_path / "g", ["a"], record={"tables": {**now, "elsewhere": "x"}})
    load_groups(connection, good, tables)
    old = {"on": on, "tables": dict.fromkeys(now, "x")}
    url = found_by_dedup(tmp_path / "h", ["a"], record=old)
    with pytest.raises(PairsiftError, match=f"have changed since; run `pairsift {command}` again"):
        load_groups(connection, url, tables)
    load_groups(connection, url)  # where nobody asks what they were made of


def test_the_digest_of_tables_changes_with_them(tmp_path: Path) -> None:
    found = set()
    for value in (1.0, 2.0):
        table = score_table("s0", ["a"], {"itm": [value]})
        url = score_folder(tmp_path / f"{value}", {"s0": table})
        for _ in range(2):
            with open_database() as connection:
                found |= set(made_of(find_score_tables(connection, url)).values())
    assert len(found) == 2


@pytest.mark.parametrize("content", [None, b"", b"no parquet"])
def test_what_dedup_did_not_write_is_named(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    tables: ScoreTables,
    content: bytes | None,
) -> None:
    (tmp_path / "g").mkdir()
    words = "--groups .*: there is no groups.parquet"
    if content is not None:
        words = "is not what `pairsift dedup` wrote, or damaged"
        (tmp_path / "g" / GROUPS).write_bytes(content)
    with pytest.raises(PairsiftError, match=words):
        load_groups(connection, str(tmp_path / "g"), tables)


def test_a_table_without_a_record_is_not_of_dedup(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, tables: ScoreTables
) -> None:
    pq.write_table(pa.table({"shard": ["s0"], "key": ["a"]}), tmp_path / GROUPS)
    with pytest.raises(PairsiftError, match="is not what `pairsift dedup` wrote"):
        load_groups(connection, str(tmp_path), tables)
