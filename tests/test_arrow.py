"""Parquet that is held in memory or open."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.arrow import arrow_array, is_damage, read_batches, read_parquet, text_array

TABLE = pa.table({"key": [f"{n}" for n in range(10)], "size": list(range(10))})


def _bytes(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=3)
    return file.getvalue()


@pytest.mark.parametrize("columns", [None, ["size"], ("size", "key")])
def test_bytes_and_open_files_give_the_same_columns(tmp_path: Path, columns) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "t.parquet").write_bytes(_bytes(TABLE))
    expected = TABLE.select(list(columns or TABLE.column_names))
    with (tmp_path / "t.parquet").open("rb") as file:
        read = [read_parquet(file, columns), read_parquet(_bytes(TABLE), columns)]
        read.append(pa.Table.from_batches(read_batches(_bytes(TABLE), columns)))
    assert all(table.select(expected.column_names).equals(expected) for table in read)
    assert all(set(table.column_names) == set(expected.column_names) for table in read)


def test_a_table_without_rows_has_no_batches() -> None:
    empty = _bytes(TABLE.slice(0, 0))
    assert list(read_batches(empty)) == []
    assert read_parquet(empty).num_rows == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"no parquet at all", _bytes(TABLE)[:-20], b"\xff" * 400 + _bytes(TABLE)[400:]],
)
def test_broken_content_is_damage(content: bytes) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        read_parquet(content)
    assert is_damage(raised.value)


def test_a_failing_storage_is_no_damage() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "disk")

    with pytest.raises(OSError) as raised:  # noqa: PT011
        read_parquet(Failing(_bytes(TABLE)))
    assert not is_damage(raised.value)


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "u1", "f4"])
def test_numbers_and_text_become_arrows_arrays(kind: str) -> None:
    numbers = np.arange(12, dtype=kind)
    assert arrow_array(numbers).equals(pa.array(numbers))
    assert arrow_array(numbers[::3]).equals(pa.array(numbers[::3].copy()))
    assert arrow_array(numbers[:0]).equals(pa.array(numbers[:0]))
    words = ["a", "", "\u72ac", "b c"]
    assert text_array(words).equals(pa.array(words))
    assert text_array([]).equals(pa.array([], pa.string()))
