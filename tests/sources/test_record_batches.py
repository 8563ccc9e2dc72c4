"""Rows of Arrow types as samples: which columns are taken, and what a row lacks."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources.base import Shard
from pairsift.sources.record_batches import BatchReader, plain

IMAGE = b"\xff\xd8 an image"
UID = f"{5:032x}"


class Rows(BatchReader):
    """The rows of a table in memory."""

    kind = "rows"

    def __init__(self, table: pa.Table, **options: Any) -> None:
        super().__init__(Shard("s", "/pool/s.rows", "rows", options=tuple(options.items())))
        self.table = table

    def __iter__(self) -> Iterator[Pair]:
        self._begin()
        layout = self._layout(self.table.schema)
        first = 0
        for batch in self.table.to_batches():
            yield from self._pairs(layout, batch, first)
            first += batch.num_rows


def pairs(columns: dict[str, Any], **options: Any) -> list[Pair]:
    return list(Rows(pa.table(columns), **options))


def told(found: list[Pair]) -> list[tuple[str, str | None]]:
    """The key of each row, and its status."""
    return [(pair.key, pair.fault and pair.fault.status.value) for pair in found]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(len(IMAGE))]
)
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_bytes_and_text_of_every_type(kind: pa.DataType, text: pa.DataType) -> None:
    columns = {"image": pa.array([IMAGE], kind), "caption": pa.array(["\u72ac"], text)}
    (pair,) = pairs(columns)
    assert (pair.image, pair.caption, pair.key, pair.shard) == (IMAGE, "\u72ac", "000000000", "s")
    assert pair.metadata == {}


def test_a_dictionary_of_captions_and_a_struct_with_bytes() -> None:
    columns = {
        "image": [{"bytes": IMAGE, "path": "a.jpg"}, None],
        "text": pa.array(["a dog", "a cat"]).dictionary_encode(),
    }
    one, other = pairs(columns)
    assert (one.image, one.caption, one.metadata) == (IMAGE, "a dog", {})
    assert (other.image, other.caption) == (None, "a cat")
    assert other.fault is not None
    assert (other.fault.status, other.fault.error) == (Status.IMAGE_MISSING, "image is null")


def test_keys_uids_and_other_columns() -> None:
    columns = {
        "jpg": [IMAGE] * 3, "txt": ["a"] * 3, "key": ["x", None, "x"], "uid": [UID, "no", None],
        "n": [1, 2, 3],
    }  # fmt: skip
    found = pairs(columns)
    assert told(found) == [("x", None), ("000000001", None), ("x", "duplicate_key")]
    assert [pair.uid for pair in found] == [UID, None, None]
    assert [pair.metadata["n"] for pair in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (base64.b64encode(IMAGE).decode(), None),
        ("data:image/jpeg;base64," + base64.b64encode(IMAGE).decode(), None),
        (base64.b64encode(IMAGE).decode()[:8] + "\n" + base64.b64encode(IMAGE).decode()[8:], None),
        ("no base64!", "image_missing"),
        ("https://example.org/x", "image_missing"),
    ],
)
def test_images_as_base64(value: str, status: str | None) -> None:
    (pair,) = pairs({"picture": [value], "caption": ["a dog"]}, image="picture")
    assert told([pair])[0][1] == status
    assert pair.image == (IMAGE if status is None else None)


def test_an_image_that_is_too_large_is_not_copied() -> None:
    columns = {"image": [b"x" * 11, b"x" * 10], "caption": ["a", "b"]}
    found = pairs(columns, max_image_bytes=10)
    assert told(found) == [("000000000", "image_too_large"), ("000000001", None)]
    assert found[0].fault is not None
    assert found[0].fault.error == "11 bytes; the limit is 10"


def test_paths_into_structs_and_lists() -> None:
    columns = {
        "sample": [{"image": IMAGE, "turns": [{"value": "hello"}, {"value": "a dog"}]},
                   {"image": IMAGE, "turns": [{"value": "hello"}]}],
    }  # fmt: skip
    found = pairs(columns, image="sample.image", caption="sample.turns.1.value")
    assert [pair.caption for pair in found] == ["a dog", None]
    assert found[1].metadata == {"sample": {"turns": [{"value": "hello"}]}}
    assert found[1].fault is not None
    assert found[1].fault.error == "sample.turns is a list of 1, with no item 1"


def test_rows_of_several_record_batches_are_numbered_through() -> None:
    table = pa.table({"image": [IMAGE] * 40, "caption": ["a"] * 40})
    chunked = pa.concat_tables([table.slice(0, 17), table.slice(17)])
    assert [pair.key for pair in Rows(chunked)] == [f"{row:09d}" for row in range(40)]
    assert list(Rows(table.slice(0, 0))) == []


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"image": [IMAGE]}, {}, "has no text column .*; its columns are: image"),
        ({"caption": ["a"]}, {}, "has no column of image bytes; its columns are: caption"),
        ({"url": ["u"], "status": ["x"], "caption": ["a"]}, {}, "beside its tars: give the tars"),
        ({"image": ["x"], "caption": ["a"]}, {}, "if image is base64, give --image-field image"),
        ({"image": [IMAGE], "caption": [3]}, {"caption": "caption"}, "is int64, but text is expec"),
        (
            {"image": [3], "caption": ["a"]},
            {"image": "image"},
            "is int64, but image bytes, a struct",
        ),
        ({"image": [IMAGE], "caption": ["a"]}, {"caption": "captoin"}, "captoin"),
        ({"a": [{"b": IMAGE}], "caption": ["a"]}, {}, "image bytes are at a.b: give one, for exam"),
        (
            {"image": [IMAGE], "talk": [[{"value": "hi"}, {"value": "a dog"}]]},
            {},
            r"--caption-field talk.1.value, or 'talk.\*.value' for a row of each",
        ),
    ],
)
def test_columns_that_cannot_be_used_are_told_with_those_that_can(
    columns: dict[str, Any], options: dict[str, str], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        pairs(columns, **options)


def test_two_columns_of_one_name_are_refused_where_they_matter() -> None:
    arrays = [pa.array([IMAGE]), pa.array(["a"]), pa.array([1]), pa.array([2])]
    table = pa.Table.from_arrays(arrays, ["image", "caption", "n", "n"])
    assert [pair.metadata for pair in Rows(table)] == [{"n": 1}]
    twice = pa.Table.from_arrays([*arrays[:2], arrays[1]], ["image", "caption", "caption"])
    with pytest.raises(PairsiftError, match="has 2 columns named 'caption'; rename all but one"):
        list(Rows(twice))


def test_failures_that_the_source_declares_have_its_reason() -> None:
    columns = {
        "jpg": pa.array([None, IMAGE], pa.binary()), "caption": ["a", "b"],
        "status": ["failed_to_download", "success"], "error_message": ["404", None],
    }  # fmt: skip
    one, other = pairs(columns)
    assert one.fault is not None
    assert (one.fault.status, one.fault.error) == (
        Status.SOURCE_FAILED, "failed_to_download: 404",
    )  # fmt: skip
    assert other.fault is None


def test_a_value_is_shown_without_the_image_inside_it() -> None:
    scalar = pa.scalar({"bytes": IMAGE, "path": "p", "more": [1, None]})
    assert plain(scalar, ("bytes",)) == {"path": "p", "more": [1, None]}
    assert plain(scalar, ())["bytes"] == IMAGE
