"""Parquet: img2dataset's and Hugging Face's layouts, bad rows, damage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.images import decode_image
from pairsift.pair import Pair, Status
from pairsift.sources import ShardReader, find_shards, open_shard
from tests.samples import jpeg

UID = "0123456789abcdef0123456789abcdef"
IMAGE_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def reader_of(table: pa.Table | Mapping[str, Any], folder: Path, **options: Any) -> ShardReader:
    path = folder / "p.parquet"
    table = table if isinstance(table, pa.Table) else pa.table(dict(table))
    pq.write_table(table, path, row_group_size=options.pop("row_group_size", 1000))
    (shard,) = find_shards(str(path), **options).shards
    return open_shard(shard)


def pairs_of(table: pa.Table | Mapping[str, Any], folder: Path, **options: Any) -> list[Pair]:
    reader = reader_of(table, folder, **options)
    pairs = list(reader)
    assert reader.problem is None
    return pairs


def statuses(pairs: list[Pair]) -> list[Status | None]:
    return [pair.fault.status if pair.fault else None for pair in pairs]


def test_img2dataset_layout(tmp_path: Path) -> None:
    image = jpeg(32, 24)
    pairs = pairs_of(
        {
            "key": ["000000001", "000000000"],
            "jpg": [image, None],
            "caption": ["a dog", "a cat"],
            "uid": [UID, None],
            "url": ["u1", "u2"],
            "status": ["success", "failed_to_download"],
            "error_message": [None, "HTTP Error 404"],
        },
        tmp_path,
    )
    good, failed = pairs
    assert (good.key, good.caption, good.uid, good.shard) == ("000000001", "a dog", UID, "p")
    assert good.metadata["url"] == "u1"
    assert decode_image(good.image)[1] == (32, 24)
    assert failed.fault is not None
    assert failed.fault.status is Status.IMAGE_MISSING
    assert failed.fault.error == "img2dataset: failed_to_download: HTTP Error 404"


@pytest.mark.parametrize("caption", ["caption", "text", "txt"])
def test_hugging_face_layout(tmp_path: Path, caption: str) -> None:
    images = [{"bytes": b"1", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    table = pa.table({"image": pa.array(images, IMAGE_STRUCT), caption: ["one", "two", "three"]})
    pairs = pairs_of(table, tmp_path)
    assert [pair.key for pair in pairs] == ["000000000", "000000001", "000000002"]
    assert [pair.image for pair in pairs] == [b"1", None, None]
    assert statuses(pairs) == [None, Status.IMAGE_MISSING, Status.IMAGE_MISSING]
    assert pairs[1].fault is not None
    assert "only the path 'b.jpg'" in pairs[1].fault.error


def test_webdataset_as_hugging_face_serves_it(tmp_path: Path) -> None:
    table = pa.table(
        {
            "__key__": ["k1"],
            "jpg": pa.array([{"bytes": b"1", "path": None}], IMAGE_STRUCT),
            "txt": ["one"],
            "json": [{"uid": UID, "caption": "alt"}],
        }
    )
    (pair,) = pairs_of(table, tmp_path)
    assert (pair.key, pair.caption, pair.uid) == ("k1", "one", UID)


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        (pa.large_binary(), pa.large_string()),
        (pa.binary(), pa.dictionary(pa.int32(), pa.string())),
        (pa.struct([("path", pa.string()), ("bytes", pa.large_binary())]), pa.string()),
    ],
)
def test_types(tmp_path: Path, images: pa.DataType, captions: pa.DataType) -> None:
    value = {"bytes": b"1", "path": None} if pa.types.is_struct(images) else b"1"
    table = pa.table({"image": pa.array([value, None], images), "text": ["x", None]})
    table = table.set_column(1, "text", table["text"].cast(captions))
    first, second = pairs_of(table, tmp_path)
    assert (first.image, first.caption) == (b"1", "x")
    assert (second.image, second.caption) == (None, None)


def test_options_and_the_only_binary_column(tmp_path: Path) -> None:
    table = {"picture": [b"1"], "caption": ["alt"], "re": ["synthetic"], "key": [7]}
    (pair,) = pairs_of(table, tmp_path)
    assert (pair.key, pair.image, pair.caption) == ("7", b"1", "alt")
    (pair,) = pairs_of(table, tmp_path, image="picture", caption="re")
    assert (pair.caption, pair.metadata) == ("synthetic", {"caption": "alt", "key": 7})


def test_bad_rows(tmp_path: Path) -> None:
    invalid = pa.Array.from_buffers(
        pa.string(), 5, pa.array([b"ok", b"caf\xe9", b"x", b"y", None], pa.binary()).buffers()
    )
    table = pa.table(
        {
            "key": ["a", "b", "c", "a", None],
            "image": [b"1", b"2", bytes(2000), b"4", b"5"],
            "caption": invalid,
        }
    )
    pairs = pairs_of(table, tmp_path, max_image_bytes=1000)
    assert [pair.key for pair in pairs] == ["a", "b", "c", "a", "000000004"]
    assert statuses(pairs) == [
        None,
        Status.CAPTION_INVALID,
        Status.IMAGE_TOO_LARGE,
        Status.DUPLICATE_KEY,
        None,
    ]
    assert pairs[4].caption is None


def test_shard_without_any_caption(tmp_path: Path) -> None:
    table = pa.table({"image": [b"1"], "caption": pa.nulls(1)})
    assert [pair.caption for pair in pairs_of(table, tmp_path)] == [None]


def test_metadata_that_python_cannot_hold(tmp_path: Path) -> None:
    far = pa.array([2**62], pa.int64()).cast(pa.timestamp("us"))
    (pair,) = pairs_of({"image": [b"1"], "caption": ["x"], "when": far}, tmp_path)
    assert (pair.fault, pair.metadata["when"]) == (None, None)


class TestComplaints:
    def complaint(self, table: dict[str, Any], folder: Path, **options: Any) -> str:
        with pytest.raises(PairsiftError) as caught:
            list(reader_of(table, folder, **options))
        assert "p.parquet" in str(caught.value)
        return str(caught.value)

    def test_columns(self, tmp_path: Path) -> None:
        message = self.complaint({"a": [b"1"], "b": [b"2"], "caption": ["x"]}, tmp_path)
        assert "its columns are: a, b, caption" in message
        message = self.complaint({"image": [b"1"], "c": ["x"]}, tmp_path)
        assert "no text column caption or text" in message
        message = self.complaint({"image": [b"1"], "caption": ["x"]}, tmp_path, caption="c2")
        assert "c2" in message
        message = self.complaint({"image": ["a.jpg"], "caption": ["x"]}, tmp_path, image="image")
        assert "'image' is string" in message

    def test_img2dataset_metadata(self, tmp_path: Path) -> None:
        table = {"url": ["u"], "caption": ["x"], "key": ["1"], "status": ["success"]}
        assert "give the tars" in self.complaint(table, tmp_path)

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 1000, b"PAR1" + b"\xff" * 100 + b"PAR1"])
    def test_malformed(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "p.parquet").write_bytes(data)
        (shard,) = find_shards(str(tmp_path / "p.parquet")).shards
        with pytest.raises(PairsiftError, match=r"p\.parquet is not a readable parquet file"):
            list(open_shard(shard))


def test_unreadable_row_group_is_left_out(tmp_path: Path) -> None:
    """The rows before and after it keep their names, and the problem says which it is."""
    table = {"image": [bytes([i]) * 4000 for i in range(60)], "caption": ["x"] * 60}
    reader = reader_of(table, tmp_path, row_group_size=20)
    path = tmp_path / "p.parquet"
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    keys = [pair.key for pair in reader]
    assert keys == [f"{index:09d}" for index in [*range(20), *range(40, 60)]]
    assert reader.problem is not None
    assert "row group 1 after row 20" in reader.problem
