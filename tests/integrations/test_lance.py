"""Lance datasets as pools: the same pairs as parquet, versions, damage, every command.

Lance takes 217 MB; `make test-integrations` installs it and runs this.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources import ShardReader, find_shards, open_shard
from tests.samples import jpeg
from tests.support.commands import pairsift

lance = pytest.importorskip("lance", reason="needs pylance: make test-integrations")

ROWS, EACH = 40, 16


def table(first: int = 0, count: int = ROWS, key: bool = False) -> pa.Table:
    rows = range(first, first + count)
    columns = {
        "image": pa.array([jpeg(50 + n, 40) for n in rows], pa.large_binary()),
        "text": [f"a small red square, number {n}" for n in rows],
        "uid": [f"{n:032x}" for n in rows],
        "site": [{"domain": f"{n % 3}.org"} for n in rows],
    }
    return pa.table(columns | ({"key": [f"k{n}" for n in rows]} if key else {}))


def write(path: Path, content: pa.Table, **options: Any) -> Path:
    lance.write_dataset(content, str(path), max_rows_per_file=EACH, **options)
    return path


def read(path: Path, **options: Any) -> tuple[list[list[Pair]], list[ShardReader]]:
    readers = [open_shard(shard) for shard in find_shards(str(path), **options).shards]
    return [list(reader) for reader in readers], readers


def texts(pairs: list[list[Pair]]) -> list[str | None]:
    return [pair.caption for part in pairs for pair in part]


def scored(folder: Path, *columns: str) -> list[dict[str, Any]]:
    wanted = ["shard", "key", "status", *columns]
    return [
        row
        for path in sorted(folder.glob("*.parquet"))
        for row in pq.read_table(path, columns=wanted).to_pylist()
    ]


def test_each_fragment_is_a_shard_with_the_pairs_of_parquet(tmp_path: Path) -> None:
    write(tmp_path / "pairs.lance", table())
    shards = find_shards(str(tmp_path / "pairs.lance")).shards
    assert [shard.name for shard in shards] == ["pairs__0", "pairs__1", "pairs__2"]
    assert find_shards(str(tmp_path)).shards == shards
    assert find_shards(f"{tmp_path}/*.lance").shards == shards
    found, readers = read(tmp_path / "pairs.lance")
    for number, (pairs, reader) in enumerate(zip(found, readers, strict=True)):
        part = tmp_path / f"{number}.parquet"
        pq.write_table(table().slice(number * EACH, EACH), part)
        ((expected,), _) = read(part)
        seen = [(p.key, p.image, p.caption, p.uid, p.metadata, p.fault) for p in pairs]
        assert seen == [(p.key, p.image, p.caption, p.uid, p.metadata, p.fault) for p in expected]
        assert reader.problem is None
        assert list(reader) == pairs  # a second time


def test_two_datasets_and_one_without_a_suffix(tmp_path: Path) -> None:
    write(tmp_path / "a.lance", table(0, 3))
    write(tmp_path / "deep" / "b", table(3, 3))
    shards = find_shards(str(tmp_path)).shards
    assert [shard.name for shard in shards] == ["a__0", "deep__b__0"]
    assert [shard.name for shard in find_shards(str(tmp_path / "deep" / "b")).shards] == ["b__0"]


@pytest.mark.parametrize("version", ["2.1", "2.2"])
def test_blobs_are_images_and_other_blobs_are_not_read(tmp_path: Path, version: str) -> None:
    pictures = [jpeg(60, 40), None, jpeg(300, 200)]
    videos = [b"v" * 70_000] * 3
    if version == "2.2":
        fields = [lance.blob_field("image"), lance.blob_field("video")]
        columns = [lance.blob_array(pictures), lance.blob_array(videos)]
    else:
        mark = {"lance-encoding:blob": "true"}
        fields = [pa.field(n, pa.large_binary(), metadata=mark) for n in ("image", "video")]
        columns = [pa.array(pictures, pa.large_binary()), pa.array(videos, pa.large_binary())]
    schema = pa.schema([*fields, pa.field("caption", pa.string())])
    content = pa.table([*columns, ["one", "two", "three"]], schema=schema)
    path = write(tmp_path / "blobs.lance", content, data_storage_version=version)
    with pytest.raises(PairsiftError, match="image_field|--image-field"):
        read(path, image="caption.0")
    ((pairs,), _) = read(path, image="image")
    assert [pair.image for pair in pairs] == pictures
    assert [pair.caption for pair in pairs] == ["one", "two", "three"]
    assert all(pair.metadata == {} for pair in pairs)


def test_fields_lists_and_paths(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg())
    content = pa.table(
        {
            "sample": [{"file": "a.jpg", "texts": ["one", "two"]}],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), 2),
        }
    )
    path = write(tmp_path / "x.lance", content)
    options = {"image": "sample.file", "image_root": str(tmp_path / "images")}
    ((pairs,), _) = read(path, caption="sample.texts.*", **options)
    assert [pair.caption for pair in pairs] == ["one", "two"]
    assert all(pair.image == jpeg() for pair in pairs)
    with pytest.raises(PairsiftError, match=r"there is no field 'no' in sample"):
        read(path, caption="sample.no", **options)


def test_versions(tmp_path: Path) -> None:
    path, out = write(tmp_path / "pairs.lance", table()), tmp_path / "scores"
    command = ("score", path, "--out", out, "--scorer", "heuristics")
    assert pairsift(*command).returncode == 0
    assert len(scored(out)) == ROWS
    stamps = {file: file.stat().st_mtime_ns for file in out.glob("*.parquet")}

    write(path, table(ROWS, 5), mode="append")  # new rows: only their fragment is scored
    assert pairsift(*command).returncode == 0
    assert len(scored(out)) == ROWS + 5
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps

    lance.dataset(str(path)).add_columns({"one": "1"})  # the same pairs in every fragment
    done = pairsift(*command)
    assert done.returncode == 0, done.stderr

    lance.dataset(str(path)).delete("uid = '" + f"{3:032x}" + "'")
    done = pairsift(*command)
    assert done.returncode == 2
    assert "pairs__0" in done.stderr
    assert "--rescore changed" in done.stderr
    assert pairsift(*command, "--rescore", "changed").returncode == 0
    assert len(scored(out)) == ROWS + 4
    (third,) = read(path)[0][0][3:4]
    named = lance.dataset(str(path)).get_fragment(0).take([int(third.key)], columns=["text"])
    assert named["text"].to_pylist() == [third.caption]

    lance.dataset(str(path)).optimize.compact_files()
    for part in ((), ("--part", "1/2"), ("--rescore", "changed")):  # rows would be there twice
        done = pairsift(*command, *part)
        assert done.returncode == 2
        assert "fragments (pairs__0) that" in done.stderr
        assert "compacted or written again" in done.stderr
    assert len(scored(out)) == ROWS + 4
    best = ("--where", "caption_words > 0", "--out", tmp_path / "s")
    assert pairsift("select", out, *best).returncode == 0
    done = pairsift("write", tmp_path / "s", "--webdataset", tmp_path / "tars")
    assert done.returncode == 2
    assert "no fragment 0 any more: the dataset was compacted" in done.stderr


def test_every_step(tmp_path: Path) -> None:
    path, out, best = write(tmp_path / "pairs.lance", table()), tmp_path / "s", tmp_path / "best"
    carry = ("--carry", "domain=site.domain", "--hashes", "--workers", 2)
    done = pairsift("score", path, "--out", out, "--scorer", "heuristics", *carry)
    assert done.returncode == 0, done.stderr
    assert [row["domain"] for row in scored(out, "domain")[:4]] == [
        "0.org", "1.org", "2.org", "0.org"
    ]  # fmt: skip
    where = ("--where", "domain = '1.org'", "--out", best)
    assert pairsift("select", out, *where).returncode == 0
    outputs = ("--webdataset", tmp_path / "tars", "--dataset", tmp_path / "data")
    done = pairsift("write", best, *outputs, "--datacomp", tmp_path / "kept.npy")
    assert done.returncode == 0, done.stderr
    written, _ = read(tmp_path / "tars")
    expected, _ = read(path)
    kept = [pair for part in expected for pair in part if int(pair.uid or "", 16) % 3 == 1]
    assert [(p.caption, p.image) for part in written for p in part] == [
        (pair.caption, pair.image) for pair in kept
    ]
    report = tmp_path / "report.html"
    done = pairsift("report", out, "--selection", best, "--out", report)
    assert done.returncode == 0, done.stderr
    assert report.read_text().count("data:image/") > 3


@pytest.mark.parametrize("key", [False, True])
def test_damaged_files(tmp_path: Path, key: bool) -> None:
    path = write(tmp_path / "pairs.lance", table(key=key))
    good, _ = read(path)
    first = lance.dataset(str(path)).get_fragments()[0].metadata.files[0].path
    file = path / "data" / first
    data = file.read_bytes()
    place = data.index(jpeg(55, 40))
    file.write_bytes(data[: place - 500] + b"\xff" * 600 + data[place + 100 :])
    found, readers = read(path)
    assert found[1:] == good[1:]
    faults = [pair.fault for pair in found[0] if pair.fault]
    assert len(found[0]) == EACH
    assert faults
    assert {fault.status for fault in faults} == {Status.READ_ERROR}
    assert "fragment 0 is damaged from row" in (readers[0].problem or "")
    assert ".rs:" not in (readers[0].problem or "")
    assert [pair.key for pair in found[0]] == [pair.key for pair in good[0]]
    file.unlink()
    found, _ = read(path)
    assert [len(part) for part in found] == [len(part) for part in good]


def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.lance", table(0, 0))
    with pytest.raises(PairsiftError, match=r"empty\.lance has no rows"):
        find_shards(str(empty))
    path = write(tmp_path / "pairs.lance", table())
    with pytest.raises(PairsiftError, match=r"give the folder of the Lance dataset"):
        find_shards(f"{path}/data/*.lance")
    for manifest in (path / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"not one")
    with pytest.raises(PairsiftError, match=r"pairs\.lance cannot be opened \(.*\); check") as told:
        find_shards(str(path))
    assert "\n" not in str(told.value)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    content = table(0, 1).slice(0, 1)
    big = pa.array([bytes(1) * 200_000] * 100, pa.large_binary())
    part = pa.table({"image": big, "text": [content["text"][0].as_py()] * 100})
    peaks = []
    for count in (8, 40):  # 160 and 800 MB in one fragment
        batches = part.to_batches() * count
        path = tmp_path / f"{count}.lance"
        lance.write_dataset(iter(batches), str(path), schema=part.schema)
        code = (
            "import re, sys; from pairsift.sources import find_shards, open_shard\n"
            "(shard,) = find_shards(sys.argv[1]).shards\n"
            "print(sum(len(pair.image) for pair in open_shard(shard)))\n"
            "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        size, peak = map(int, done.stdout.split())
        assert size == count * 100 * 200_000
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 300 << 10
