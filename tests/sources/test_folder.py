"""A folder of images: captions tables, text files beside images, paths not to be followed."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources import find_shards, open_shard
from tests.samples import jpeg

UID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.c.png", "sub/d.JPEG"):
        (folder / name).write_bytes(name.encode())
    return folder


def pairs_of(path: Path | str, **options: Any) -> list[Pair]:
    (shard,) = find_shards(str(path), **options).shards
    reader = open_shard(shard)
    pairs = list(reader)
    assert reader.problem is None
    return pairs


def statuses(pairs: list[Pair]) -> list[Status | None]:
    return [pair.fault.status if pair.fault else None for pair in pairs]


class TestTable:
    @pytest.mark.parametrize("header", ["file_name,text", "image,caption", "filename,caption"])
    @pytest.mark.parametrize("name", ["metadata.csv", "captions.csv", "whatever.csv"])
    def test_rows_in_order(self, photos: Path, header: str, name: str) -> None:
        (photos / name).write_text(f'{header}\nsub/d.JPEG,"d, ""quoted"""\na.jpg,一只狗\n\n')
        pairs = pairs_of(photos)
        assert [(pair.key, pair.image, pair.caption, pair.shard) for pair in pairs] == [
            ("sub/d", b"sub/d.JPEG", 'd, "quoted"', "photos"),
            ("a", b"a.jpg", "一只狗", "photos"),
        ]

    def test_key_uid_and_metadata(self, photos: Path) -> None:
        (photos / "metadata.csv").write_text(f"key,uid,image,caption,url\nk,{UID},a.jpg,x,u\n")
        (pair,) = pairs_of(photos)
        assert (pair.key, pair.uid) == ("k", UID)
        assert pair.metadata == {"key": "k", "uid": UID, "url": "u"}

    def test_several_captions_of_an_image(self, photos: Path) -> None:
        (photos / "captions.csv").write_text("image,caption\na.jpg,1\na.jpg,2\nb.c.png,3\na.jpg,4")
        pairs = pairs_of(photos)
        assert [pair.key for pair in pairs] == ["a", "a-2", "b.c", "a-3"]
        assert statuses(pairs) == [None] * 4

    @pytest.mark.parametrize("order", [("a", "a", "a-2"), ("a-2", "a", "a"), ("a", "a-2", "a")])
    def test_keys_that_are_made_up_take_no_other_away(
        self, photos: Path, order: tuple[str, ...]
    ) -> None:
        (photos / "a-2.jpg").write_bytes((photos / "a.jpg").read_bytes())
        lines = "".join(f"{name}.jpg,caption {n}\n" for n, name in enumerate(order))
        (photos / "captions.csv").write_text(f"image,caption\n{lines}")
        pairs = pairs_of(photos)
        assert len({pair.key for pair in pairs}) == 3
        assert statuses(pairs) == [None] * 3

    def test_links_that_lead_nowhere(self, photos: Path) -> None:
        os.symlink("loop.jpg", photos / "loop.jpg")
        os.symlink("gone", photos / "dangling.jpg")
        content = "image,caption\nloop.jpg,x\na.jpg,y\ndangling.jpg,z\n"
        (photos / "captions.csv").write_text(content)
        missing = Status.IMAGE_MISSING
        assert statuses(pairs_of(photos)) == [missing, None, missing]

    def test_same_key_twice(self, photos: Path) -> None:
        (photos / "captions.csv").write_text("key,image,caption\nk,a.jpg,1\nk,a.jpg,2\n")
        assert statuses(pairs_of(photos)) == [None, Status.DUPLICATE_KEY]

    def test_tab_separated_and_options(self, photos: Path) -> None:
        (photos / "x.tsv").write_text("pic\tre\ttext\na.jpg\tsynthetic\talt\n")
        (photos / "y.csv").write_text("image,caption\n")
        (pair,) = pairs_of(photos, captions_file="x.tsv", image="pic", caption="re")
        assert (pair.image, pair.caption) == (b"a.jpg", "synthetic")
        assert pairs_of(photos / "y.csv") == []

    def test_image_paths_that_lead_nowhere(self, photos: Path) -> None:
        secret = photos.parent / "secret.jpg"
        secret.write_bytes(b"secret")
        os.mkfifo(photos / "pipe.jpg")
        paths = ["../secret.jpg", str(secret), "sub/../../secret.jpg", r"..\secret.jpg", "",
                 "http://example.com/a.jpg", "gone.jpg", "sub", "pipe.jpg"]  # fmt: skip
        rows = "".join(f"{path},x\n" for path in paths)
        (photos / "captions.csv").write_text(f"image,caption\n{rows}a.jpg,x\n")
        *bad, good = pairs_of(photos)
        assert statuses(bad) == [Status.IMAGE_MISSING] * len(paths)
        assert all(pair.image is None for pair in bad)
        assert all(pair.fault and pair.fault.error for pair in bad)
        assert (good.fault, good.image) == (None, b"a.jpg")

    def test_hostile_captions(self, photos: Path) -> None:
        rows = [b"caf\xe9", b"a\0b", b"x" * 200_000, b"", b"\xef\xbb\xbfbom", b'"two\nlines"']
        content = b"".join(b"a.jpg," + row + b"\n" for row in rows)
        (photos / "captions.csv").write_bytes(b"\xef\xbb\xbfimage,caption\n" + content)
        pairs = pairs_of(photos)
        assert statuses(pairs) == [
            Status.CAPTION_INVALID, None, None, None, None, None,
        ]  # fmt: skip
        long = "x" * 200_000
        assert [p.caption for p in pairs] == [None, "a\0b", long, "", "bom", "two\nlines"]
        assert pairs[0].fault
        assert "--encoding" in pairs[0].fault.error

    def test_line_of_many_megabytes(self, photos: Path) -> None:
        line = b"a.jpg," + b"x" * 20_000_000 + b"\n"
        (photos / "captions.csv").write_bytes(b"image,caption\n" + line + b"a.jpg,good\n")
        pairs = pairs_of(photos)
        assert statuses(pairs) == [Status.CAPTION_TOO_LARGE, None]
        assert [(pair.key, pair.caption) for pair in pairs] == [("a", None), ("a-2", "good")]

    def test_large_image(self, photos: Path) -> None:
        (photos / "captions.csv").write_text("image,caption\na.jpg,x\nb.c.png,x\n")
        assert statuses(pairs_of(photos, max_image_bytes=5)) == [None, Status.IMAGE_TOO_LARGE]

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"a.csv": "image,caption\n", "b.csv": ""}, "several tables (a.csv, b.csv)"),
            ({"a.csv": "image,label\n"}, "no caption column such as caption, text"),
            ({"a.csv": "image,label\n"}, "--caption-field"),
            ({"a.csv": "picture,caption\n"}, "no image column"),
            ({"a.csv": "a.jpg,a dog\nb.jpg,a cat\n"}, "the first line must name the columns"),
            ({"a.csv": ""}, "its columns are: none"),
            ({"a.csv": 'image,"caption\na.jpg,x\n'}, "a.csv, line 1: the line of column names"),
            ({"a.csv": "image,Caption,CAPTION\n"}, "2 columns named 'caption'"),
            ({"a.csv": "image,caption,uid,uid\n"}, "2 columns named 'uid'"),
        ],
    )
    def test_complaints(self, photos: Path, files: dict[str, str], words: str) -> None:
        for name, content in files.items():
            (photos / name).write_text(content)
        with pytest.raises(PairsiftError) as caught:
            pairs_of(photos)
        assert words in str(caught.value)


class TestLines:
    """Every line of a table is a pair, with `row_invalid` where it is no row."""

    @pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "captions.jsonl"])
    def test_a_bad_line_costs_itself(self, photos: Path, name: str) -> None:
        lines = {
            "captions.csv": ["image,caption", "a.jpg,x", 'a.jpg,"open', "a.jpg", "a.jpg,y,z"],
            "captions.tsv": ["image\tcaption", "a.jpg\tx", "a.jpg", "a.jpg\ty\tz", "\t\t\t"],
            "captions.jsonl": ['{"image": "a.jpg", "text": "x"}', "{", "[]", "null"],
        }[name]
        last = {"c": "a.jpg,last", "t": "a.jpg\tlast", "j": '{"image": "a.jpg", "text": "last"}'}
        (photos / name).write_text("\n".join([*lines, last[name.split(".")[1][0]]]))
        pairs = pairs_of(photos)
        bad = pairs[1:-1]
        assert statuses(bad) == [Status.ROW_INVALID] * 3
        first = 2 if name.endswith("jsonl") else 3
        assert [pair.key for pair in bad] == [f"line-{first + number}" for number in range(3)]
        for number, pair in enumerate(bad):
            assert pair.fault
            assert pair.fault.error.startswith(f"line {first + number} of {name}: ")
        assert [pair.caption for pair in pairs if not pair.fault] == ["x", "last"]

    def test_keys_of_bad_lines_are_their_own(self, photos: Path) -> None:
        (photos / "captions.csv").write_text("key,image,caption\nline-3,a.jpg,x\nbad\n")
        assert [pair.key for pair in pairs_of(photos)] == ["line-3", "line-3-2"]

    def test_counts_are_noted_and_told(
        self, photos: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "pairsift.inputs")
        (photos / "captions.csv").write_text('image,caption\na.jpg,"two\nlines"\n\nbad\n')
        (shard,) = find_shards(str(photos)).shards
        reader = open_shard(shard)
        assert len(list(reader)) == 2
        assert reader.notes == {
            "rows of captions.csv": 1,
            "lines of captions.csv": 5,
            "rows of captions.csv over several lines": 1,
            "images are named by no row": 2,
        }
        assert (
            "5 lines, 1 rows, 1 of them over several lines, 1 lines that are not rows"
            in caplog.text
        )

    @pytest.mark.parametrize("size", [131_073, 999_999])
    def test_long_captions(self, photos: Path, size: int) -> None:
        (photos / "captions.csv").write_text(f'image,caption\na.jpg,"{"x" * size}"\na.jpg,y\n')
        assert [len(pair.caption or "") for pair in pairs_of(photos)] == [size, 1]

    def test_separator_and_encoding(self, photos: Path) -> None:
        (photos / "captions.csv").write_bytes(
            "image;caption\na.jpg;café, au lait\n".encode("cp1252")
        )
        (pair,) = pairs_of(photos, separator=";", encoding="cp1252")
        assert pair.caption == "café, au lait"
        (pair,) = pairs_of(photos)  # the separator is found, the encoding is not
        assert statuses([pair]) == [Status.CAPTION_INVALID]


@pytest.mark.parametrize("options", [{"separator": "xx"}, {"encoding": "klingon"}])
def test_options_are_checked_before_anything_is_read(photos: Path, options: dict[str, str]) -> None:
    with pytest.raises(PairsiftError, match="--separator 'xx'|--encoding 'klingon'"):
        find_shards(str(photos), **options)


class TestImageFolder:
    """The layout of Hugging Face: a metadata file in each folder."""

    @pytest.mark.parametrize("name", ["metadata.csv", "metadata.tsv", "metadata.jsonl",
                                      "metadata.jsonl.gz", "metadata.parquet"])  # fmt: skip
    def test_tables_at_any_depth(self, photos: Path, name: str) -> None:
        _write_table(photos / name, [("a.jpg", "a dog"), ("b.c.png", "a cat")])
        _write_table(photos / "sub" / name, [("d.JPEG", "a cow")])
        pairs = pairs_of(photos)
        assert [(pair.key, pair.image, pair.caption) for pair in pairs] == [
            ("a", b"a.jpg", "a dog"),
            ("b.c", b"b.c.png", "a cat"),
            ("sub/d", b"sub/d.JPEG", "a cow"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "name", ["metadata.jsonl", "metadata.parquet", "any.jsonl", "any.csv.gz", "x.tsv.bz2"]
    )
    def test_a_table_as_the_shard(self, photos: Path, name: str) -> None:
        _write_table(photos / "sub" / name, [("d.JPEG", "a cow")])
        (pair,) = pairs_of(photos / "sub" / name)
        assert (pair.key, pair.caption, pair.image) == ("d", "a cow", b"sub/d.JPEG")
        (pair,) = pairs_of(photos, captions_file=f"sub/{name}")
        assert (pair.key, pair.caption) == ("sub/d", "a cow")

    def test_what_is_left_out_is_told(self, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
        _write_table(photos / "metadata.csv", [("./a.jpg", "a dog")])
        (photos / "captions.tsv").write_text("file_name\ttext\na.jpg\tanother\n")
        (photos / "metadata.json").write_text("[]")
        (photos / "sub" / "d.txt").write_text("beside the image")
        (shard,) = find_shards(str(photos)).shards
        reader = open_shard(shard)
        with caplog.at_level("INFO", "pairsift.inputs"):
            assert [pair.key for pair in reader] == ["./a"]
        assert reader.notes["images are named by no row"] == 2
        assert reader.notes["tables are not read"] == 2
        assert "2 images are named by no row, the first b.c.png" in caplog.text
        assert "2 tables are not read, the first captions.tsv" in caplog.text
        assert "what is read is metadata.csv. --captions-file names another" in caplog.text

    def test_a_named_table_is_all_that_is_meant(self, photos: Path) -> None:
        _write_table(photos / "train.csv", [("a.jpg", "a dog")])
        _write_table(photos / "test.csv", [("b.c.png", "a cat")])
        (shard,) = find_shards(str(photos), captions_file="train.csv").shards
        reader = open_shard(shard)
        assert [pair.key for pair in reader] == ["a"]
        assert set(reader.notes) == {"rows of train.csv", "lines of train.csv"}

    def test_a_table_as_one_json_document_is_told(
        self, photos: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (photos / "metadata.json").write_text('[{"file_name": "a.jpg", "text": "a dog"}]')
        with caplog.at_level("INFO", "pairsift.inputs"):
            assert len(pairs_of(photos)) == 3
        assert "1 tables are not read, the first metadata.json" in caplog.text

    def test_values_within_json(self, photos: Path) -> None:
        rows = [{"file_name": "a.jpg", "meta": {"captions": ["x", "y"]}}, {"file_name": "b.c.png"}]
        (photos / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        pairs = pairs_of(photos, caption="meta.captions.1")
        assert [pair.caption for pair in pairs] == ["y", None]
        (pair, _) = pairs_of(photos, caption="meta.captions")
        assert statuses([pair]) == [Status.CAPTION_MISSING]
        assert pair.fault
        assert "is a list of 2, not text; --caption-field meta.captions.0" in pair.fault.error

    def test_images_where_the_path_is_longer_or_shorter(self, photos: Path) -> None:
        paths = ["d.JPEG", "photos/sub/d.JPEG", r"sub\d.JPEG", "sub/d.jpeg", f"{photos}/sub/d.JPEG",
                 "/elsewhere/photos/sub/d.JPEG", "val/a.jpg", "./a.jpg"]  # fmt: skip
        (photos / "captions.csv").write_text("image,caption\n" + "".join(f"{p},x\n" for p in paths))
        pairs = pairs_of(photos)
        assert [pair.image for pair in pairs] == [b"sub/d.JPEG"] * 6 + [b"a.jpg"] * 2
        (photos / "captions.csv").write_text("image,caption\nother/d.JPEG,x\n")
        (pair,) = pairs_of(photos)
        assert statuses([pair]) == [Status.IMAGE_MISSING]
        assert pair.fault
        assert "'other/d.JPEG'" in pair.fault.error
        assert "sub/d.JPEG" in pair.fault.error

    def test_names_of_any_bytes(self, photos: Path) -> None:
        names = [b"caf\xe9.jpg", "犬 🐕.jpg".encode(), b"100% [a] {b} 'c'.jpg"]
        for name in names:
            (photos / os.fsdecode(name)).write_bytes(name)
        (photos / "captions.csv").write_bytes(
            b"image,caption\n" + b"".join(name + b",x\n" for name in names)
        )
        pairs = pairs_of(photos)
        assert [pair.image for pair in pairs] == names
        assert [pair.key for pair in pairs] == ["caf\\xe9", "犬 🐕", "100% [a] {b} 'c'"]


def _write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    columns = {"file_name": [name for name, _ in rows], "text": [text for _, text in rows]}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
        return
    separator = "\t" if ".tsv" in path.name else ","
    lines = [separator.join(row) for row in [("file_name", "text"), *rows]]
    if ".jsonl" in path.name:
        lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
    data = "\n".join(lines).encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))


class TestTextFiles:
    def test_beside_images(self, photos: Path) -> None:
        (photos / "a.txt").write_text("a dog")
        (photos / "b.c.txt").write_bytes(b"caf\xe9")
        (photos / "README.txt").write_text("about")
        (shard,) = find_shards(str(photos)).shards
        reader = open_shard(shard)
        pairs = list(reader)
        assert [pair.key for pair in pairs] == ["a", "b.c", "sub/d"]
        assert [pair.caption for pair in pairs] == ["a dog", None, None]
        assert statuses(pairs) == [None, Status.CAPTION_INVALID, None]
        assert reader.notes == {"text files without an image beside them": 1}

    def test_two_images_of_one_name(self, photos: Path) -> None:
        (photos / "a.png").write_bytes(b"other")
        pairs = pairs_of(photos)
        assert [pair.key for pair in pairs] == ["a", "a", "b.c", "sub/d"]
        assert statuses(pairs) == [None, Status.DUPLICATE_KEY, None, None]


def test_remote_folder() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/photos/a.jpg", jpeg(8, 8))
    memory.pipe_file("/photos/captions.csv", b"image,caption\na.jpg,a dog\nb.jpg,gone\n")
    try:
        pairs = pairs_of("memory://photos")
    finally:
        memory.rm("/photos", recursive=True)
    assert pairs[0].image == jpeg(8, 8)
    assert statuses(pairs) == [None, Status.IMAGE_MISSING]
