"""Tables of scores that were made elsewhere, as samples without images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources import find_shards, open_shard
from pairsift.sources.score_rows import KIND

UID = f"{7:032x}"


def pairs(path: Path, **options: Any) -> list[Pair]:
    (shard,) = find_shards(str(path), kind=KIND, **options).shards
    return list(open_shard(shard))


def written(tmp_path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def told(found: list[Pair]) -> list[str]:
    """The key of each row, or its fault."""
    return [pair.fault.error if pair.fault else pair.key for pair in found]


def test_without_options_the_key_is_the_number_of_the_row(tmp_path: Path) -> None:
    found = pairs(written(tmp_path, uid=[UID, "no uid"], clip=[0.5, None]))
    assert [(pair.key, pair.uid, pair.metadata["clip"]) for pair in found] == [
        ("000000000", UID, 0.5), ("000000001", None, None),
    ]  # fmt: skip
    assert all(pair.image is None and pair.caption is None and not pair.fault for pair in found)


def test_keys_are_texts_with_or_without_a_shard(tmp_path: Path) -> None:
    table = written(tmp_path, k=[1.0, 2.5, 1e9], s=["a", "a", "b"], n=[3, 4, 5])
    assert told(pairs(table, key="k")) == ["1", "2.5", "1000000000"]
    assert told(pairs(table, key="n", shard="s")) == ["a/3", "a/4", "b/5"]


def test_rows_without_a_key_and_repeated_keys_are_faults(tmp_path: Path) -> None:
    table = written(tmp_path, k=pa.array([1.0, math.nan, None, 1.0]), clip=[0, 1, 2, 3])
    found = pairs(table, key="k")
    assert told(found) == ["1", "row 1 has no k", "row 2 has no k", "an earlier row has this key"]
    statuses = [pair.fault.status for pair in found if pair.fault]
    assert statuses == [Status.ROW_INVALID, Status.ROW_INVALID, Status.DUPLICATE_KEY]
    empty = written(tmp_path, k=["a", "a", ""], s=["x", "y", "x"])
    assert told(pairs(empty, key="k", shard="s")) == ["x/a", "y/a", "row 2 has no k"]


@pytest.mark.parametrize("value", [None, "12", 5, "\udcff" * 3, "x" * 1000])
def test_a_named_uid_that_is_none_is_a_fault(tmp_path: Path, value: Any) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": value, "clip": 1}))
    (found,) = pairs(tmp_path / "t.jsonl", uid="id")
    assert found.fault is not None
    assert "is not 32 hexadecimal digits; other names are given with --key" in found.fault.error
    assert len(found.fault.error) < 200
    found.fault.error.encode()


def test_a_line_that_is_no_row_is_a_fault_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("k,clip\na,1\nb\nc,3\n")
    found = pairs(tmp_path / "t.csv", key="k")
    assert [pair.key for pair in found] == ["a", "line-3", "c"]
    assert told(found)[1].startswith("line 3: too few fields: 1 instead of 2")


@pytest.mark.parametrize("option", ["uid", "key"])
def test_columns_that_are_not_there_are_named(tmp_path: Path, option: str) -> None:
    table = written(tmp_path, clip=[1.0], k=["a"])
    with pytest.raises(PairsiftError, match=rf"no column 'x' \(--{option}\); its columns are clip"):
        pairs(table, **{option: "x"})


def test_a_table_without_lines_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("")
    assert pairs(tmp_path / "t.csv", key="k") == []


def test_only_the_wanted_columns_of_a_parquet_file_are_read(tmp_path: Path) -> None:
    table = written(tmp_path, uid=[UID], k=["a"], clip=[1.0], more=["x"])
    (found,) = pairs(table, key="k", columns=json.dumps(["clip"]))
    assert (found.key, found.uid) == ("a", UID)
    assert set(found.metadata) == {"uid", "k", "clip"}
