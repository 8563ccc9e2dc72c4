"""A selection in parts by the values of a column: every kept row is in exactly one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.select import Selection, read_selection, select, split_selection
from pairsift.select.split import check_split
from tests.score_folders import score_folder, score_table

VALUES = [0.05, 0.35, 0.35, 0.9, 0.1, 0.7]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Selection:
    place = tmp_path_factory.mktemp("selection")
    table = score_table("a", list("012345"), {"clip": VALUES, "language": ["en"] * 6})
    table = table.append_column("words", pa.array([1, 2, 3, 4, 5, 6], pa.int32()))
    other = score_table("b", ["0"], {"clip": [0.35], "language": ["de"]})
    other = other.append_column("words", pa.array([9], pa.int32()))
    url = score_folder(place / "s", {"a": table, "b": other})
    return select(url, where="key <> '5'", out=place / "kept")


def rows_of(selection: Selection) -> list[tuple[str, list[int]]]:
    return [(shard.shard, shard.rows.tolist()) for shard in selection.shards()]


def test_an_edge_belongs_to_the_bucket_above_it(kept: Selection, tmp_path: Path) -> None:
    buckets = split_selection(kept, "clip", [0.1, 0.35], tmp_path / "parts")
    assert [(bucket.low, bucket.high) for bucket in buckets] == [
        (-math.inf, 0.1), (0.1, 0.35), (0.35, math.inf),
    ]  # fmt: skip
    # 0.35 and 0.1 are stored as float32, which are not the numbers that are written so.
    assert [rows_of(bucket.selection) for bucket in buckets] == [
        [("a", [0])], [("a", [4])], [("a", [1, 2, 3]), ("b", [0])],
    ]  # fmt: skip


def test_parts_are_selections_of_their_own(kept: Selection, tmp_path: Path) -> None:
    buckets = split_selection(kept, "words", [4], tmp_path / "parts")
    found = [read_selection(tmp_path / "parts" / name) for name in ("00", "01")]
    assert [part.kept for part in found] == [3, 3]
    assert [part.record for part in found] == [bucket.selection.record for bucket in buckets]
    assert [part.record.query["split"]["bucket"] for part in found] == [0, 1]
    assert len({kept.record.digest, *(part.record.digest for part in found)}) == 3


def test_a_bucket_may_be_empty(kept: Selection, tmp_path: Path) -> None:
    buckets = split_selection(kept, "words", [100, 200.5], tmp_path / "parts")
    assert [bucket.selection.kept for bucket in buckets] == [6, 0, 0]
    assert rows_of(buckets[1].selection) == []


@pytest.mark.parametrize(
    ("column", "edges", "words"),
    [
        ("clip", [], "must be in ascending order; for example 50,66,80"),
        ("clip", [0.5, 0.5], "the edges 0.5, 0.5 must be in ascending order"),
        ("clip", [0.5, 0.1], "ascending"),
        ("clip", [math.nan], "ascending"),
        ("clip", [math.inf], "ascending"),
        ("itm", [0.5], "have no column 'itm' for the buckets; their columns are .*clip"),
        ("language", [0.5], "'language' for the buckets does not hold numbers"),
        ("status", [0.5], "does not hold numbers"),
    ],
)
def test_what_cannot_be_split_is_told_before_anything_is_written(
    kept: Selection, tmp_path: Path, column: str, edges: list[float], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        check_split(kept, column, edges)
    with pytest.raises(PairsiftError, match=words):
        split_selection(kept, column, edges, tmp_path / "parts")
    assert not list(tmp_path.glob("parts/*/*.parquet"))


@pytest.mark.parametrize("hole", [None, math.nan])
def test_rows_without_a_value_are_named_by_shard(tmp_path: Path, hole: float | None) -> None:
    table = score_table("a", ["0", "1"], {"clip": [0.5, 0.5]})
    place = table.schema.get_field_index("clip")
    values = pa.array(np.array([0.5, hole or math.nan]), pa.float32(), from_pandas=hole is None)
    url = score_folder(tmp_path / "s", {"a": table.set_column(place, "clip", values)})
    kept = select(url, out=tmp_path / "kept")
    with pytest.raises(PairsiftError, match='rows of a have no clip; .*"clip is not null" first'):
        check_split(kept, "clip", [0.5])
