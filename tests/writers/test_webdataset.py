"""New shards: identical members, readable by webdataset, safe to kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.select import Selection, select
from pairsift.writers import write_webdataset
from tests.score_folders import (
    read_tar,
    sample_members,
    score_folder,
    score_table,
    uid_of,
    write_tar,
)


def _pool(
    path: Path, rng: np.random.Generator, shards: int = 3, rows: int = 20, **tar_options: Any
) -> tuple[str, dict[str, list[tuple[str, bytes]]]]:
    """Tars below path/data and their scores; returns the score folder and members by key."""
    members: dict[str, list[tuple[str, bytes]]] = {}
    tables = {}
    for shard in range(shards):
        name = f"{shard:05d}"
        keys = [f"{shard:05d}{row:04d}" for row in range(rows)]
        for key in keys:
            members[key] = sample_members(key, rng)
        content = [member for key in keys for member in members[key]]
        write_tar(path / "data" / f"{name}.tar", content, **tar_options)
        tables[name] = score_table(name, keys, {"itm": rng.random(rows) * 100})
    return score_folder(path / "scores", tables, root=path / "data"), members


def _keys(selection: Selection) -> list[str]:
    return [
        key
        for shard in selection.shards()
        for key in shard.table(["key"]).column("key").to_pylist()
    ]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.mark.parametrize(
    "form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=str
)
def test_members_are_those_of_the_source(tmp_path: Path, form: int) -> None:
    scores, members = _pool(tmp_path, np.random.default_rng(0), format=form)
    selection = select(scores, where="itm >= 40", out=tmp_path / "sel")
    written = write_webdataset(selection, tmp_path / "out", samples_per_shard=10)
    keys = _keys(selection)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert names == [f"{index:08d}.tar" for index in range(-(-len(keys) // 10))]
    assert (written.shards, written.written, written.samples) == (len(names), len(names), len(keys))
    found = [member for name in names for member in read_tar(tmp_path / "out" / name)]
    assert found == [member for key in keys for member in members[key]]
    sizes = json.loads((tmp_path / "out" / "sizes.json").read_text())
    assert list(sizes) == names
    assert list(sizes.values()) == [10] * (len(keys) // 10) + [len(keys) % 10] * (
        len(keys) % 10 > 0
    )
    with tarfile.open(tmp_path / "out" / names[0]) as tar:
        assert {header.uname for header in tar} == {"curator"}


def test_webdataset_reads_them(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    scores, members = _pool(tmp_path, np.random.default_rng(1))
    selection = select(scores, top=0.4, by="itm", out=tmp_path / "sel")
    written = write_webdataset(selection, tmp_path / "out", samples_per_shard=7)
    assert written.train_data.endswith("/{00000000..00000003}.tar")
    found = list(wds.WebDataset(written.train_data, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in found] == _keys(selection)
    for sample in found:
        image, caption, info = (content for _, content in members[sample["__key__"]])
        assert (sample["jpg"], sample["txt"], sample["json"]) == (image, caption, info)


def test_long_names_odd_members_and_gzip_survive(tmp_path: Path) -> None:
    """Long paths, a suffix of two parts, files without key, a link, a global header."""
    long = "deep/" * 60 + "sample"
    odd: list[tuple[str, bytes]] = [
        ("README", b"no extension, no sample"),
        (f"{long}.jpg", b"a" * 700),
        (f"{long}.mask.png", b"b" * 3),
        (f"{long}.txt", "größe".encode()),
        ("plain.jpg", b"c" * 512),
        ("plain.txt", b""),
        ("drop.jpg", b"d"),
        ("dröp.jpg", b"e"),
        ("last.JPG", b"f" * 1025),
    ]
    for name, options in {
        "pax": {"mode": "w", "format": tarfile.PAX_FORMAT, "pax_headers": {"comment": "x"}},
        "gnu": {"mode": "w:gz", "format": tarfile.GNU_FORMAT},
    }.items():
        path = tmp_path / name / "data" / "0.tar"
        path.parent.mkdir(parents=True)
        with tarfile.open(path, **options) as tar:
            for place, (member, content) in enumerate(odd):
                header = tarfile.TarInfo(member)
                header.size = len(content)
                header.mtime = 0.5 + place if name == "pax" else place
                tar.addfile(header, __import__("io").BytesIO(content))
                if member == "plain.txt":
                    link = tarfile.TarInfo("plain.link")
                    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                    tar.addfile(link)
        keys = [long, "plain", "drop", "dröp", "last"]
        table = score_table("0", keys, {"itm": [1, 1, 0, 0, 1]})
        scores = score_folder(tmp_path / name / "scores", {"0": table}, root=path.parent)
        selection = select(scores, where="itm > 0", out=tmp_path / name / "sel")
        write_webdataset(selection, tmp_path / name / "out")
        found = read_tar(tmp_path / name / "out" / "00000000.tar")
        assert found == [odd[1], odd[2], odd[3], odd[4], odd[5], odd[8]]


def test_the_first_of_samples_with_one_key_is_copied(tmp_path: Path) -> None:
    content = [
        ("a.jpg", b"first"), ("a.txt", b"1"),
        ("a.jpg", b"again"), ("a.txt", b"2"),
        ("b.jpg", b"other"), ("b.txt", b"3"),
        ("a.jpg", b"later"), ("a.txt", b"4"),
    ]  # fmt: skip
    write_tar(tmp_path / "data" / "0.tar", content)
    table = score_table(
        "0", ["a", "a", "b", "a"], {"itm": [1, 1, 1, 1]},
        statuses=[Status.OK, Status.DUPLICATE_KEY, Status.OK, Status.DUPLICATE_KEY],
    )  # fmt: skip
    scores = score_folder(tmp_path / "scores", {"0": table}, root=tmp_path / "data")
    selection = select(scores, out=tmp_path / "sel")
    write_webdataset(selection, tmp_path / "out")
    found = read_tar(tmp_path / "out" / "00000000.tar")
    assert found == [("a.jpg", b"first"), ("a.txt", b"1"), ("b.jpg", b"other"), ("b.txt", b"3")]


def test_a_key_that_source_shards_share_comes_once_a_shard(tmp_path: Path) -> None:
    tables = {}
    for name in ("x", "y"):
        members = [
            (f"{key}.{kind}", f"{name}{key}".encode()) for key in "012" for kind in ("jpg", "txt")
        ]
        write_tar(tmp_path / "data" / f"{name}.tar", members)
        tables[name] = score_table(name, ["0", "1", "2"], {"itm": [1, 1, 1]})
    scores = score_folder(tmp_path / "scores", tables, root=tmp_path / "data")
    selection = select(scores, out=tmp_path / "sel")
    assert write_webdataset(selection, tmp_path / "out").shards == 2
    sizes = json.loads((tmp_path / "out" / "sizes.json").read_text())
    assert sizes == {"00000000.tar": 3, "00000001.tar": 3}
    assert dict(read_tar(tmp_path / "out" / "00000001.tar"))["0.jpg"] == b"y0"


def test_scores_go_into_the_json(tmp_path: Path) -> None:
    content = [
        ("a.jpg", b"1"), ("a.json", b'{"url": "u", "itm": 3}'), ("a.txt", b"x"),
        ("b.jpg", b"2"), ("b.txt", b"y"),
        ("c.jpg", b"3"), ("c.json", b"[1, 2]"),
    ]  # fmt: skip
    write_tar(tmp_path / "data" / "0.tar", content)
    table = score_table("0", list("abc"), {"itm": [71.3, 66.0, 1.0], "odf": [5.5, None, 2.0]})
    scores = score_folder(tmp_path / "scores", {"0": table}, root=tmp_path / "data")
    selection = select(scores, out=tmp_path / "sel")
    written = write_webdataset(selection, tmp_path / "out", scores=["itm", "odf"])
    found = read_tar(tmp_path / "out" / "00000000.tar")
    names = [name for name, _ in found]
    assert names == ["a.jpg", "a.json", "a.txt", "b.jpg", "b.txt", "b.json", "c.jpg", "c.json"]
    members = dict(found)
    assert json.loads(members["a.json"]) == {"url": "u", "itm": 71.3, "odf": 5.5}
    assert json.loads(members["b.json"]) == {"itm": 66.0}
    assert members["c.json"] == b"[1, 2]"
    assert written.unannotated == 1
    assert (members["a.jpg"], members["b.txt"]) == (b"1", b"y")


def test_parquet_source_becomes_samples(tmp_path: Path) -> None:
    images = [b"\xff\xd8\xff1", b"\x89PNG\r\n\x1a\n2", None, b"\xff\xd8\xff4"]
    table = pa.table(
        {
            "key": ["k.0", "k.1", "k.2", "k.3"],
            "jpg": pa.array(images, pa.binary()),
            "caption": ["one", "two", "three", "four"],
            "uid": [uid_of(row) for row in range(4)],
        }
    )
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "p.parquet")
    scored = score_table(
        "p", ["k.0", "k.1", "k.2", "k.3"], {"itm": [1, 90, None, 80]},
        statuses=[Status.OK, Status.OK, Status.IMAGE_MISSING, Status.OK],
    )  # fmt: skip
    facts = {"source": str(tmp_path / "data" / "p.parquet"), "source_kind": "parquet"}
    scores = score_folder(tmp_path / "s", {"p": scored}, root=tmp_path / "data", facts={"p": facts})
    selection = select(scores, where="itm > 50", out=tmp_path / "sel")
    write_webdataset(selection, tmp_path / "out", scores=["itm"])
    members = dict(read_tar(tmp_path / "out" / "00000000.tar"))
    assert list(members) == ["k_1.png", "k_1.txt", "k_1.json", "k_3.jpg", "k_3.txt", "k_3.json"]
    assert (members["k_1.png"], members["k_3.txt"]) == (images[1], b"four")
    info = json.loads(members["k_3.json"])
    assert (info["key"], info["uid"], info["itm"]) == ("k.3", uid_of(3), 80.0)


def test_run_again_writes_nothing_new(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path, np.random.default_rng(0))
    selection = select(scores, where="itm >= 40", out=tmp_path / "sel")
    write_webdataset(selection, tmp_path / "out", samples_per_shard=10)
    before = _contents(tmp_path / "out")
    (tmp_path / "out" / "00000001.tar").unlink()
    again = write_webdataset(selection, tmp_path / "out", samples_per_shard=10)
    assert again.written == 1
    assert _contents(tmp_path / "out") == before


def test_foreign_and_other_folders_are_refused(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path, np.random.default_rng(0))
    selection = select(scores, where="itm >= 40", out=tmp_path / "sel")
    before = sorted(os.listdir(tmp_path / "data"))
    with pytest.raises(PairsiftError, match="already holds 00000"):
        write_webdataset(selection, tmp_path / "data")
    assert sorted(os.listdir(tmp_path / "data")) == before
    write_webdataset(selection, tmp_path / "out")
    other = select(scores, where="itm >= 41", out=tmp_path / "sel2")
    with pytest.raises(PairsiftError, match="begun with another selection"):
        write_webdataset(other, tmp_path / "out")
    with pytest.raises(PairsiftError, match="another samples_per_shard"):
        write_webdataset(selection, tmp_path / "out", samples_per_shard=3)


def test_moved_changed_and_missing_sources(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path, np.random.default_rng(0))
    selection = select(scores, where="itm >= 40", out=tmp_path / "sel")
    write_webdataset(selection, tmp_path / "out")
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(PairsiftError, match=r"00000\.tar does not exist"):
        write_webdataset(selection, tmp_path / "out2")
    write_webdataset(selection, tmp_path / "out3", root=str(tmp_path / "moved"))
    assert _contents(tmp_path / "out3") == _contents(tmp_path / "out")
    with open(tmp_path / "moved" / "00000.tar", "ab") as file:
        file.write(bytes(512))
    with pytest.raises(PairsiftError, match="bytes, and had"):
        write_webdataset(selection, tmp_path / "out4", root=str(tmp_path / "moved"))
    assert list((tmp_path / "out4").glob("*.tar")) == []


def test_a_key_that_is_gone_is_named(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path, np.random.default_rng(0), shards=1, rows=4)
    selection = select(scores, out=tmp_path / "sel")
    path = tmp_path / "data" / "00000.tar"
    path.write_bytes(path.read_bytes().replace(b"000000002.", b"000000009."))
    with pytest.raises(PairsiftError, match="changed.* no longer has sample 000000002"):
        write_webdataset(selection, tmp_path / "out")


def test_workers_write_the_same_bytes(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path, np.random.default_rng(5), shards=4)
    selection = select(scores, top=0.5, by="itm", out=tmp_path / "sel")
    alone = write_webdataset(selection, tmp_path / "one", samples_per_shard=9, workers=1)
    many = write_webdataset(selection, tmp_path / "three", samples_per_shard=9, workers=3)
    assert many.written == alone.written > 3
    assert _contents(tmp_path / "one") == _contents(tmp_path / "three")
    (tmp_path / "data" / "00003.tar").unlink()
    with pytest.raises(PairsiftError, match=r"00003\.tar does not exist"):
        write_webdataset(selection, tmp_path / "failed", samples_per_shard=9, workers=3)


_KILLED = """
import sys
from pairsift.select import read_selection
from pairsift.writers import write_webdataset
if __name__ == "__main__":
    print("ready", flush=True)
    write_webdataset(
        read_selection(sys.argv[1]), sys.argv[2], samples_per_shard=20, workers=int(sys.argv[3])
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(
    tmp_path: Path, workers: int
) -> None:
    rng = np.random.default_rng(3)
    scores, _ = _pool(tmp_path, rng, shards=3, rows=150)
    selection = select(scores, top=0.9, by="itm", out=tmp_path / "sel")
    begin = time.perf_counter()
    write_webdataset(selection, tmp_path / "whole", samples_per_shard=20)
    took = time.perf_counter() - begin
    choice = random.Random(7)
    killed = 0
    script = tmp_path / "write.py"
    script.write_text(_KILLED)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, script, tmp_path / "sel", tmp_path / "out", str(workers)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(choice.uniform(0, took / 3))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            killed += 1
        child.wait()
        child.stdout.close()
        whole = _contents(tmp_path / "whole")
        for path in (tmp_path / "out").glob("*.tar"):
            assert path.read_bytes() == whole[path.name]
    assert killed
    write_webdataset(selection, tmp_path / "out", samples_per_shard=20)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")
