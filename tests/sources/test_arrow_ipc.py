"""Arrow files: datasets on disk, Feather and streams; images in them, or beside them by path."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources import find_shards, open_shard
from pairsift.sources.base import ShardReader
from tests.samples import jpeg
from tests.support.commands import pairsift

ROWS = 40


def table(count: int = ROWS) -> pa.Table:
    pictures = [{"bytes": jpeg(50 + n, 40), "path": f"{n}.jpg"} for n in range(count)]
    return pa.table(
        {
            "image": pictures,
            "text": [f"caption {n}" for n in range(count)],
            "uid": [f"{n:032x}" for n in range(count)],
            "site": [{"domain": "x.org"}] * count,
        }
    )


def write(path: Path, content: pa.Table, rows: int = 7) -> Path:
    """A stream, or for the suffix .feather a file with a footer."""
    new = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with new(path, content.schema) as writer:
        writer.write_table(content, max_chunksize=rows)
    return path


def read(path: Path, **options: Any) -> tuple[list[Pair], ShardReader]:
    (shard,) = find_shards(str(path), **options).shards
    reader = open_shard(shard)
    return list(reader), reader


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".ipc"])
def test_the_same_pairs_as_parquet(tmp_path: Path, suffix: str) -> None:
    pq.write_table(table(), tmp_path / "t.parquet")
    pairs, reader = read(write(tmp_path / f"t{suffix}", table()))
    expected, _ = read(tmp_path / "t.parquet")
    assert len(pairs) == ROWS
    assert pairs == expected
    assert reader.problem is None
    assert [pair.key for pair in pairs[:2]] == ["000000000", "000000001"]


def test_feather_and_its_compression(tmp_path: Path) -> None:
    for compression in ("uncompressed", "lz4", "zstd"):
        path = tmp_path / f"{compression}.feather"
        pyarrow.feather.write_feather(table(), str(path), compression=compression)
        pairs, reader = read(path)
        assert [pair.caption for pair in pairs] == table()["text"].to_pylist()
        assert reader.problem is None
    (tmp_path / "old.feather").write_bytes(b"FEA1" + b"\0" * 100)
    with pytest.raises(PairsiftError, match="first version of the Feather format"):
        read(tmp_path / "old.feather")


@pytest.mark.parametrize("suffix", [".arrow", ".feather"])
def test_what_is_cut_off_or_damaged_is_told(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", table())
    data = path.read_bytes()
    expected, _ = read(path)
    for cut in range(100, len(data) - 1, len(data) // 23):
        path.write_bytes(data[:cut])
        try:
            pairs, reader = read(path)
        except PairsiftError:
            assert cut < 3000  # within the schema
            continue
        assert pairs == expected[: len(pairs)]
        assert reader.problem is not None


@pytest.mark.parametrize("suffix", [".arrow", ".feather"])
def test_damaged_bytes_are_no_crash(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", table())
    data, random = path.read_bytes(), np.random.default_rng(0)
    for width in [1, 4, 8, 40] * 15:
        place = random.integers(0, len(data) - width)
        path.write_bytes(data[:place] + random.bytes(width) + data[place + width :])
        with contextlib.suppress(PairsiftError):  # damaged before the first row
            read(path)


def test_a_damaged_offset_costs_its_row(tmp_path: Path) -> None:
    count = 40
    offsets = np.arange(count + 1, dtype="<i4") * 8
    texts = pa.py_buffer(b"12345678" * count)
    offsets[21] = 2**30  # the end of row 20, and the begin of row 21
    captions = pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), texts])
    content = pa.record_batch({"caption": captions, "jpg": pa.array([b"x"] * count)})
    with pa.ipc.new_stream(tmp_path / "t.arrow", content.schema) as writer:
        writer.write_batch(content)
    pairs, reader = read(tmp_path / "t.arrow")
    damaged = [n for n, p in enumerate(pairs) if p.fault and p.fault.status is Status.READ_ERROR]
    assert (len(pairs), damaged) == (count, [20, 21])
    assert {pair.caption for n, pair in enumerate(pairs) if n not in damaged} == {"12345678"}
    assert reader.problem is None


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", b"good"]).view(pa.string())
    content = pa.table({"caption": raw, "jpg": [b"x"] * 3})
    pairs, _ = read(write(tmp_path / "t.arrow", content))
    assert [pair.fault.status if pair.fault else None for pair in pairs] == [
        None, Status.CAPTION_INVALID, None,
    ]  # fmt: skip


def nested(kind: str, texts: pa.Array) -> pa.Array:
    """An array whose row n has the n-th text inside it."""
    count = len(texts)
    ends = pa.array(range(count + 1), pa.int32())
    if kind == "list":
        return pa.ListArray.from_arrays(ends, texts)
    if kind == "large_list":
        return pa.LargeListArray.from_arrays(ends.cast(pa.int64()), texts)
    if kind == "fixed_size_list":
        return pa.FixedSizeListArray.from_arrays(texts, 1)
    if kind == "list of structs":
        return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays([texts], ["t"]))
    if kind == "map":
        return pa.MapArray.from_arrays(ends, pa.array(["k"] * count), texts)
    return pa.DictionaryArray.from_arrays(pa.array(range(count), pa.int32()), texts)


@pytest.mark.parametrize(
    "kind", ["list", "large_list", "fixed_size_list", "list of structs", "map", "dictionary"]
)
@pytest.mark.parametrize("rows", [7, ROWS])
def test_text_inside_a_list_costs_its_row_at_most(tmp_path: Path, kind: str, rows: int) -> None:
    raw = [f"caption {n}".encode() for n in range(ROWS)]
    raw[20] = b"\xff"
    column = nested(kind, pa.array(raw, pa.binary()).view(pa.string()))
    content = table()
    pairs, _ = read(write(tmp_path / "beside.arrow", content.append_column("tags", column), rows))
    assert [pair.fault for pair in pairs] == [None] * ROWS
    if kind == "map":  # which no path leads into
        return
    named = {"list of structs": "text.0.t", "dictionary": "text"}.get(kind, "text.0")
    content = content.set_column(1, "text", column)
    pairs, _ = read(write(tmp_path / "captions.arrow", content, rows), caption=named)
    assert [pair.key for pair in pairs if pair.fault] == [f"{20:09d}"]
    assert pairs[20].fault.status is Status.CAPTION_INVALID  # type: ignore[union-attr]
    assert pairs[21].caption == "caption 21"


def test_a_cut_between_batches_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrow", table())
    path.write_bytes(path.read_bytes()[:-8])
    pairs, reader = read(path)
    assert len(pairs) == ROWS
    assert "it ends early, after row 40" in str(reader.problem)


@pytest.mark.parametrize("content", [b"", b"no arrow", b"\0" * 100, b"ARROW1\0\0", b"ARROW1"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.arrow").write_bytes(content)
    with pytest.raises(PairsiftError, match="not a readable Arrow file"):
        read(tmp_path / "t.arrow")


def test_rows_that_cannot_be_scored(tmp_path: Path) -> None:
    content = pa.table(
        {
            "key": ["a", "a", "c", "d", None],
            "image": [b"x", b"y", None, b"z", b"z"],
            "caption": ["1", "2", "3", None, "5"],
        }
    )
    pairs, _ = read(write(tmp_path / "t.arrow", content))
    assert [pair.fault.status if pair.fault else None for pair in pairs] == [
        None, Status.DUPLICATE_KEY, Status.IMAGE_MISSING, None, None,
    ]  # fmt: skip
    assert [pair.key for pair in pairs] == ["a", "a", "c", "d", "000000004"]
    assert pairs[3].caption is None


def test_a_dataset_on_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": jpeg(seed=n), "path": None} for n in range(6)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = {"image": images, "text": [f"caption {n}" for n in range(6)]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    whole = whole.select([5, 3, 1, 0])
    datasets.DatasetDict(train=whole, test=whole.select([0])).save_to_disk(
        tmp_path / "saved", num_shards={"train": 2, "test": 1}
    )
    # What .map() leaves there later.
    write(tmp_path / "saved" / "train" / "cache-0123.arrow", table(3))
    found = find_shards(str(tmp_path / "saved"))
    names = [f"train__data-{n:05d}-of-00002" for n in range(2)]
    assert [shard.name for shard in found.shards] == ["test__data-00000-of-00001", *names]
    assert [shard.kind for shard in found.shards] == ["arrow"] * 3
    (note,) = found.notes
    assert "1 caches of datasets" in note
    assert ".json" not in note
    pairs = [pair for shard in found.shards for pair in open_shard(shard)]
    assert [pair.caption for pair in pairs] == [f"caption {n}" for n in (5, 5, 3, 1, 0)]
    assert pairs[0].image == jpeg(seed=5)


def test_scored_and_written(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write(tmp_path / "pool" / "0.arrow", table())
    pq.write_table(table(), tmp_path / "0.parquet")
    for command in (
        ("score", "pool", "--scorer", "heuristics", "--workers", 0, "--out", "s",
         "--carry", "site.domain"),
        ("score", "0.parquet", "--scorer", "heuristics", "--workers", 0, "--out", "p",
         "--carry", "site.domain"),
        ("select", "s", "--top", 0.5, "--by", "smaller_side", "--out", "best"),
        ("write", "best", "--webdataset", "tars"),
        ("score", "pool", "--scorer", "heuristics", "--workers", 0, "--out", "s",
         "--carry", "site.domain"),
    ):  # fmt: skip
        done = pairsift(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "s" / "0.parquet") == pq.read_table(
        tmp_path / "p" / "0.parquet"
    )
    kept = [pair for shard in find_shards(str(tmp_path / "tars")).shards
            for pair in open_shard(shard)]  # fmt: skip
    assert len(kept) == ROWS // 2
    write(tmp_path / "pool" / "0.arrow", table(5))
    refused = pairsift("score", "pool", "--scorer", "heuristics", "--workers", 0, "--out", "s",
                       "--carry", "site.domain", cwd=tmp_path)  # fmt: skip
    assert refused.returncode == 2
    assert "changed since" in refused.stderr


class TestPaths:
    """Images that the rows of parquet and Arrow files name."""

    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        (tmp_path / "images").mkdir()
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / "images" / name).write_bytes(name.encode())
        return tmp_path / "images"

    @pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
    def test_columns_of_paths(self, tmp_path: Path, images: Path, suffix: str) -> None:
        paths = [
            "a.jpg",
            str(images / "b.jpg"),
            "gone.jpg",
            "../secret.jpg",
            None,
            "http://h/a.jpg",
        ]
        content = pa.table({"file_name": paths, "caption": list("123456")})
        path = tmp_path / f"t{suffix}"
        if suffix == ".arrow":
            write(path, content)
        else:
            pq.write_table(content, path)
        pairs, _ = read(path, image_root=str(images))
        assert [pair.image for pair in pairs] == [b"a.jpg", b"b.jpg", None, None, None, None]
        assert all(p.fault and p.fault.status is Status.IMAGE_MISSING for p in pairs[2:])
        assert "gone.jpg" in pairs[2].fault.error  # type: ignore[union-attr]
        with pytest.raises(PairsiftError, match=r"--image-root FOLDER"):
            read(path)

    def test_a_struct_with_only_a_path(self, tmp_path: Path, images: Path) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        values = [
            {"bytes": None, "path": "images/a.jpg"},
            {"bytes": b"x", "path": "gone"},
            {"bytes": None, "path": "gone.jpg"},
            {"bytes": None, "path": None},
            None,
        ]
        content = pa.table({"image": pa.array(values, kind), "caption": list("12345")})
        pairs, _ = read(write(tmp_path / "t.arrow", content))
        assert [pair.image for pair in pairs] == [b"a.jpg", b"x", None, None, None]
        assert "only the path 'gone.jpg' is stored" in pairs[2].fault.error  # type: ignore[union-attr]

    def test_named_text_is_base64_or_a_path(self, tmp_path: Path, images: Path) -> None:
        content = pa.table({"x": ["images/a.jpg", "eHl6", "?"], "caption": list("123")})
        pairs, _ = read(write(tmp_path / "t.arrow", content), image="x")
        assert [pair.image for pair in pairs] == [b"a.jpg", b"xyz", None]
        assert "--image-root" in pairs[2].fault.error  # type: ignore[union-attr]


def test_state_json_of_something_else(tmp_path: Path) -> None:
    write(tmp_path / "0.arrow", table(2))
    (tmp_path / "state.json").write_text(json.dumps({"a": 1}))
    assert len(find_shards(str(tmp_path)).shards) == 1
