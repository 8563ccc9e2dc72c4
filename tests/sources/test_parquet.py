"""Parquet: img2dataset's and Hugging Face's layouts, bad rows, damage."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.images import decode_image
from pairsift.pair import Pair, Status
from pairsift.sources import ShardReader, find_shards, open_shard
from tests.samples import damage, jpeg

UID = "0123456789abcdef0123456789abcdef"
WRITTEN = ("row_group_size", "use_dictionary", "write_batch_size")
IMAGE_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def reader_of(table: pa.Table | Mapping[str, Any], folder: Path, **options: Any) -> ShardReader:
    path = folder / "p.parquet"
    table = table if isinstance(table, pa.Table) else pa.table(dict(table))
    written = {"row_group_size": 1000}
    written.update({name: options.pop(name) for name in WRITTEN if name in options})
    pq.write_table(table, path, **written)
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
    assert failed.fault.status is Status.SOURCE_FAILED
    assert failed.fault.status.declared
    assert failed.fault.error == "failed_to_download: HTTP Error 404"


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


@pytest.mark.parametrize("name", ["jpg", "txt", "key", "uid"])
def test_two_columns_of_one_name(tmp_path: Path, name: str) -> None:
    names = ["jpg", "txt", "key", "uid", name]
    table = pa.Table.from_arrays([pa.array([b"1"]), *[pa.array(["a"])] * 4], names)
    with pytest.raises(PairsiftError, match=f"has 2 columns named '{name}'; rename all but one"):
        pairs_of(table, tmp_path)
    table = table.rename_columns([*names[:4], "other"]).append_column("other", pa.array(["b"]))
    assert pairs_of(table, tmp_path)[0].metadata["other"] == "a"  # one that is not asked for


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
    reader = reader_of(table, tmp_path)
    assert [pair.caption for pair in reader] == [None]
    assert reader.problem == "all 1 rows have no caption (caption is null)"


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
        assert "its columns are: a (binary), b (binary), caption (string)" in message
        assert "image bytes are at a, b: give one, for example --image-field a" in message
        message = self.complaint({"image": [b"1"], "c": ["x"]}, tmp_path)
        assert "no text column caption or text" in message
        message = self.complaint({"image": [b"1"], "caption": ["x"]}, tmp_path, caption="c2")
        assert "c2" in message
        message = self.complaint({"image": [3], "caption": ["x"]}, tmp_path, image="image")
        assert "--image-field image is int64" in message
        message = self.complaint({"image": ["a.jpg"], "caption": ["x"]}, tmp_path)
        assert "if image is base64, give --image-field image; if it holds paths" in message

    def test_img2dataset_metadata(self, tmp_path: Path) -> None:
        table = {"url": ["u"], "caption": ["x"], "key": ["1"], "status": ["success"]}
        assert "give the tars" in self.complaint(table, tmp_path)

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 1000, b"PAR1" + b"\xff" * 100 + b"PAR1"])
    def test_malformed(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "p.parquet").write_bytes(data)
        (shard,) = find_shards(str(tmp_path / "p.parquet")).shards
        with pytest.raises(PairsiftError, match=r"p\.parquet is not a readable parquet file"):
            list(open_shard(shard))


@pytest.mark.parametrize("keys", ["none", "numbers", "names"])
@pytest.mark.parametrize("columns", [["image"], ["caption"], ["image", "key"], ["key"], ["uid"]])
def test_rows_that_cannot_be_read_are_rows(tmp_path: Path, columns: list[str], keys: str) -> None:
    """Every row of the file is a pair, with its own key where that can be read."""
    table: dict[str, list[Any]] = {
        "image": [bytes([i]) * 4000 for i in range(60)],
        "caption": [f"caption {i}" for i in range(60)],
        "uid": [f"{i:032x}" for i in range(60)],
    }
    # img2dataset's keys look like numbers of rows, but are in another order.
    names = [f"{59 - i:09}" if keys == "numbers" else f"k{i}" for i in range(60)]
    if keys != "none":
        table["key"] = names
    reader = reader_of(table, tmp_path, row_group_size=20)
    whole = list(reader)
    damage(tmp_path / "p.parquet", 1, *columns)
    pairs = list(reader)
    if columns == ["key"] and keys == "none":
        assert pairs == whole
        return
    assert [*pairs[:20], *pairs[40:]] == [*whole[:20], *whole[40:]]
    with_keys = keys != "none" and "key" not in columns
    for row, pair in enumerate(pairs[20:40], 20):
        assert pair.key == (names[row] if with_keys else f"{row:09d}")
        assert pair.uid == (None if "uid" in columns else table["uid"][row])
        assert pair.image is None
        assert pair.fault is not None
        assert pair.fault.status is Status.READ_ERROR
        assert f"row {row}, in row group 1: " in pair.fault.error
    assert reader.problem is not None
    assert reader.problem.startswith("1 unreadable row groups; row group 1 from row 20 on: ")


def test_a_row_group_that_cannot_be_read_to_its_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = {"image": [rng.bytes(500_000) for _ in range(60)], "caption": ["x"] * 60}
    paged = {"use_dictionary": False, "write_batch_size": 4}
    reader = reader_of(table, tmp_path, row_group_size=30, **paged)
    whole = list(reader)
    path = tmp_path / "p.parquet"
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(0)
    end = chunk.data_page_offset + chunk.total_compressed_size
    rest = chunk.total_compressed_size // 4
    data[end - rest : end] = bytes(rest)
    path.write_bytes(data)
    pairs = list(reader)
    faults = [row for row, pair in enumerate(pairs) if pair.fault is not None]
    assert [pair.key for pair in pairs] == [pair.key for pair in whole]
    assert 0 < faults[0] < 30
    assert faults == list(range(faults[0], 30))


def test_all_groups_unreadable(tmp_path: Path) -> None:
    table = {"image": [b"\xff\xd8\xff"] * 5, "caption": ["x"] * 5}
    reader = reader_of(table, tmp_path, row_group_size=2)
    for group in range(3):
        damage(tmp_path / "p.parquet", group, "image", "caption")
    assert [pair.key for pair in reader] == [f"{row:09}" for row in range(5)]
    assert str(reader.problem).startswith("3 unreadable row groups; row group 0 from row 0 on: ")


def _hugging_face(images: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": image, "path": "x.jpg"} for image in images]


IMAGES = [b"\xff\xd8\xff1", b"\xff\xd8\xff2"]
NESTED: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"image": IMAGES, "caption": [["one", "other"], ["two"]]}, None, "caption.0"),
    ({"image": IMAGES, "caption": [["other", "one"], ["two"]]}, None, "caption.-1"),
    ({"image": IMAGES, "caption": [{"en": "one"}, {"en": "two"}]}, None, "caption.en"),
    ({"images": [[each] for each in _hugging_face(IMAGES)], "text": ["one", "two"]},
     "images.0", None),
    ({"images": [[each] for each in IMAGES], "text": ["one", "two"]}, "images.0", "text"),
    ({"sample": [{"image": image, "caption": caption, "n": 1}
                 for image, caption in zip(_hugging_face(IMAGES), ("one", "two"), strict=True)]},
     "sample.image", "sample.caption"),
    ({"image": _hugging_face(IMAGES),
      "conversations": [[{"from": "human", "value": "?"}, {"from": "gpt", "value": caption}]
                        for caption in ("one", "two")]}, None, "conversations.1.value"),
    ({"Image Data": IMAGES, "Alt-Text": ["one", "two"]}, "Image Data", "Alt-Text"),
    ({"my.image": IMAGES, "my.text": ["one", "two"]}, "my.image", '"my.text"'),
    ({"Image": IMAGES, "Caption": ["one", "two"]}, None, None),
    ({"jpg": pa.array(IMAGES, pa.binary(4)), "txt": ["one", "two"]}, None, None),
    ({"jpg": pa.array(IMAGES, pa.large_binary()),
      "txt": pa.array(["one", "two"], pa.large_string())}, None, None),
    ({"jpg": pa.array(IMAGES).cast(pa.binary_view()),
      "txt": pa.array(["one", "two"]).cast(pa.string_view())}, None, None),
    ({"jpg": IMAGES, "txt": pa.array(["one", "two"]).dictionary_encode()}, None, None),
    ({"jpg": IMAGES, "txt": [b"one", b"two"]}, "jpg", "txt"),
    ({"image": [base64.b64encode(each).decode() for each in IMAGES], "txt": ["one", "two"]},
     "image", None),
    ({"image": ["data:image/jpeg;base64," + base64.encodebytes(each).decode() for each in IMAGES],
      "txt": ["one", "two"]}, "image", None),
]  # fmt: skip


class TestForms:
    @pytest.mark.parametrize(("table", "image", "caption"), NESTED)
    def test_is_read(
        self, tmp_path: Path, table: dict[str, Any], image: str | None, caption: str | None
    ) -> None:
        try:
            pq.write_table(pa.table(table), tmp_path / "probe.parquet")
        except pa.ArrowNotImplementedError as error:  # older Arrow writes no views
            pytest.skip(str(error))
        pairs = pairs_of(table, tmp_path, image=image, caption=caption)
        assert [(pair.image, pair.caption, pair.fault) for pair in pairs] == [
            (IMAGES[0], "one", None),
            (IMAGES[1], "two", None),
        ]
        # What is left goes into the json of written samples: it holds no image.
        assert "xff" not in repr([pair.metadata for pair in pairs])

    def test_the_rest_of_a_struct_stays_metadata(self, tmp_path: Path) -> None:
        table, image, caption = NESTED[5]
        (pair, _) = pairs_of(table, tmp_path, image=image, caption=caption)
        assert pair.metadata == {"sample": {"caption": "one", "n": 1}}

    @pytest.mark.parametrize(
        ("table", "options", "words"),
        [
            (NESTED[0][0], {}, ["caption (list<", "--caption-field caption.0"]),
            (NESTED[0][0], {"caption": "caption"}, ["is list<", "--caption-field caption.0"]),
            (NESTED[2][0], {}, ["--caption-field caption.en"]),
            (NESTED[2][0], {"caption": "caption.fr"}, ["no field 'fr' in caption; there are en"]),
            (NESTED[3][0], {}, ["images (list<", "image bytes are at images.0", "images.0"]),
            (NESTED[5][0], {}, ["image bytes are at sample.image"]),
            (NESTED[5][0], {"image": "sample"}, ["is struct<", "--image-field sample.image"]),
            (
                NESTED[6][0],
                {},
                [
                    "conversations.0.from, conversations.0.value",
                    "(0 is the first)",
                    "--caption-field conversations.1.value",
                ],
            ),
            (NESTED[6][0], {"caption": "conversations.value"}, ["conversations is a list"]),
            (NESTED[7][0], {}, ["--caption-field Alt-Text"]),
            (NESTED[7][0], {"image": "image data"}, ["no field 'image data'", "Image Data"]),
        ],
    )
    def test_refusals_name_type_and_option(
        self, tmp_path: Path, table: dict[str, Any], options: dict[str, str], words: list[str]
    ) -> None:
        with pytest.raises(PairsiftError) as caught:
            list(reader_of(table, tmp_path, **options))
        for part in words:
            assert part in str(caught.value)

    def test_holes_in_nested_data_are_told_by_row(self, tmp_path: Path) -> None:
        table = {
            "image": [IMAGES[0]] * 4,
            "captions": [["one"], [], None, [None]],
        }
        pairs = pairs_of(table, tmp_path, caption="captions.0")
        assert statuses(pairs) == [None, *[Status.CAPTION_MISSING] * 3]
        assert [pair.fault and pair.fault.error for pair in pairs[1:]] == [
            "captions is a list of 0, with no item 0",
            "captions is null",
            "captions.0 is null",
        ]

    def test_paths_without_bytes(self, tmp_path: Path) -> None:
        table = {
            "image": [{"bytes": None, "path": f"{n}.jpg"} for n in range(3)],
            "text": ["x"] * 3,
        }
        reader = reader_of(table, tmp_path)
        assert statuses(list(reader)) == [Status.IMAGE_MISSING] * 3
        assert "all 3 rows have no image (only the path '0.jpg' is stored" in str(reader.problem)

    def test_text_that_is_no_base64(self, tmp_path: Path) -> None:
        table = {"image": ["https://a.example/b.jpg", "c/d.jpg"], "text": ["x"] * 2}
        reader = reader_of(table, tmp_path, image="image")
        assert statuses(list(reader)) == [Status.IMAGE_MISSING] * 2
        assert "'https://a.example/b.jpg' is a URL" in str(reader.problem)

    def test_binary_uids(self, tmp_path: Path) -> None:
        uids = pa.array([bytes.fromhex(UID)], pa.binary(16))
        (pair,) = pairs_of({"jpg": IMAGES[:1], "txt": ["x"], "uid": uids}, tmp_path)
        assert pair.uid == UID
