"""A column of a parquet file by row group and row."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.sources.parquet_column import ParquetColumn


@pytest.fixture
def column(tmp_path: Path) -> ParquetColumn:
    values = [b"a", None, b"", b"d", b"e"]
    pq.write_table(pa.table({"x": values, "y": range(5)}), tmp_path / "t.parquet", row_group_size=2)
    return ParquetColumn(str(tmp_path / "t.parquet"), "x")


def test_values_come_in_any_order(column: ParquetColumn) -> None:
    assert [column[place] for place in ((2, 0), (0, 1), (0, 0), (1, 1), (1, 0), (2, 0))] == [
        b"e", None, b"a", b"d", b"", b"e",
    ]  # fmt: skip


def test_a_copy_for_another_process_opens_the_file_itself(column: ParquetColumn) -> None:
    assert column[0, 0] == b"a"
    other = pickle.loads(pickle.dumps(column))
    assert other[0, 0] == b"a"
    assert other.file is not column.file
    assert column.file is column.file


def test_a_fork_does_not_read_through_its_parents_file(column: ParquetColumn) -> None:
    assert column[0, 0] == b"a"
    mine = id(column.file)
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, b"%d" % (column[0, 0] == b"a" and id(column.file) != mine))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.close(write)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match=r"gone\.parquet does not exist"):
        ParquetColumn(str(tmp_path / "gone.parquet"), "x")[0, 0]
