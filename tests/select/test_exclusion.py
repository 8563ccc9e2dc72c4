"""Lists of uids that must not be kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.select.exclusion import TABLE, hex_uids, load_exclusions

UIDS = [f"{n * 0x0123456789ABCDEF0123456789ABCD:032x}" for n in range(1, 6)]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def _pairs() -> np.ndarray:
    return np.array([(int(u[:16], 16), int(u[16:], 16)) for u in UIDS], dtype="u8,u8")


def _write(path: Path, form: str) -> str:
    if form == "npy":
        np.save(path.with_suffix(".npy"), _pairs())
    elif form == "parquet":
        pq.write_table(pa.table({"x": [0] * 6, "uid": [*UIDS, None]}), path.with_suffix(".parquet"))
    else:
        path.with_suffix(".txt").write_text("\n" + "\r\n".join(u.upper() for u in UIDS) + "\n\n")
    return str(path.with_suffix(f".{form}"))


@pytest.mark.parametrize("form", ["npy", "parquet", "txt"])
def test_every_form_holds_the_same_uids(
    form: str, tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    assert load_exclusions(connection, [_write(tmp_path / "list", form)]) == 5
    found = connection.execute(f"SELECT uid::VARCHAR FROM {TABLE}").fetchall()
    assert sorted(uid.replace("-", "") for (uid,) in found) == sorted(UIDS)


def test_halves_become_hexadecimal_digits() -> None:
    assert hex_uids(_pairs()).to_pylist() == UIDS
    assert hex_uids(_pairs()[:0]).to_pylist() == []


def test_several_lists_add_up(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    lists = [_write(tmp_path / "a", "npy"), _write(tmp_path / "b", "txt")]
    assert load_exclusions(connection, lists) == 10


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.txt", None, "gone.txt"),
        ("gone.parquet", None, "gone.parquet"),
        ("a.txt", b"not a uid\n", "1 entries .* are not uids"),
        ("a.npy", b"no array", "is not a .npy file"),
    ],
)
def test_another_form_is_named(
    name: str,
    content: bytes | None,
    words: str,
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PairsiftError, match=words):
        load_exclusions(connection, [str(tmp_path / name)])


def test_another_dtype_or_column_is_told(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(PairsiftError, match="dtype int64; expected u8,u8"):
        load_exclusions(connection, [str(tmp_path / "a.npy")])
    pq.write_table(pa.table({"id": UIDS}), tmp_path / "a.parquet")
    with duckdb.connect() as other, pytest.raises(PairsiftError, match="no column uid"):
        load_exclusions(other, [str(tmp_path / "a.parquet")])
