"""JSON lines whose rows name images by path, below the table or below `--image-root`."""

from __future__ import annotations

import gzip
import json
import os
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status
from pairsift.provenance import find_source
from pairsift.scores import read_table
from pairsift.sources import find_shards, open_shard
from pairsift.sources.image_paths import AHEAD, in_order, read_file
from pairsift.storage import Folder
from pairsift.storage_errors import Cause, StorageError
from tests.samples import jpeg, write_tar
from tests.support.commands import pairsift


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def pairs_of(path: Path | str, **options: Any) -> list[Pair]:
    (shard,) = find_shards(str(path), **options).shards
    return list(open_shard(shard))


def done(folder: Path, *arguments: object) -> None:
    finished = pairsift(*arguments, cwd=folder)
    assert finished.returncode == 0, finished.stderr


def told(pair: Pair) -> str:
    assert pair.fault is not None
    assert pair.fault.status is Status.IMAGE_MISSING
    return pair.fault.error


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_paths_relative_to_the_root_and_whole_paths(
    tmp_path: Path, images: Path, suffix: str
) -> None:
    rows = [
        {"image": "a.jpg", "caption": "1", "url": "http://host/a.jpg"},
        {"image": str(images / "sub/b.jpg"), "caption": "2"},
        {"image": f"file://{images}/a.jpg", "caption": "3"},
    ]
    table = lines(tmp_path / "tables" / f"part{suffix}", rows)
    pairs = pairs_of(table, image_root=str(images))
    assert [(pair.key, pair.image, pair.caption, pair.fault) for pair in pairs] == [
        ("a", b"a.jpg", "1", None),
        ("sub/b", b"sub/b.jpg", "2", None),
        ("a-2", b"a.jpg", "3", None),
    ]
    assert pairs[0].metadata == {"url": "http://host/a.jpg"}


def test_no_path_leads_out_of_the_root(tmp_path: Path, images: Path) -> None:
    secret = images.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    os.mkfifo(images / "pipe.jpg")
    paths = ["../secret.jpg", str(secret), f"{images}-other/a.jpg", f"{images}/../secret.jpg",
             "s3://bucket/a.jpg", "https://host/a.jpg", "a\0.jpg", "sub", "pipe.jpg", "gone.jpg",
             "", "x" * 5000, "data:image/jpeg;base64," + "x" * 100_000]  # fmt: skip
    table = lines(tmp_path / "t.jsonl", [{"image": p, "caption": "x"} for p in [*paths, "a.jpg"]])
    *bad, good = pairs_of(table, image_root=str(images))
    errors = [told(pair) for pair in bad]
    assert [pair.image for pair in bad] == [None] * len(paths)
    assert all("--image-root" in error for error in [*errors[:5], errors[6]])
    assert "download" in errors[5]
    assert "pipe, device or socket" in errors[8]
    assert all(len(error) < 500 for error in errors)
    assert good.image == b"a.jpg"


def test_without_a_root_the_advice_names_it(tmp_path: Path, images: Path) -> None:
    paths = [str(images / "a.jpg"), "../store/images/a.jpg", "s3://bucket/a.jpg", "http://h/a.jpg"]
    table = lines(tmp_path / "t" / "t.jsonl", [{"image": p, "caption": "x"} for p in paths])
    errors = [told(pair) for pair in pairs_of(table)]
    assert all("--image-root" in error for error in errors[:3])
    assert "download" in errors[3]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'{"image": "a.jpg", "caption": ', Status.ROW_INVALID),
        (b"[1, 2]", Status.ROW_INVALID),
        (b"null", Status.ROW_INVALID),
        (b'"text"', Status.ROW_INVALID),
        (b"\0\0\0", Status.ROW_INVALID),
        (b'{"image": "a.jpg", "caption": 7}', Status.CAPTION_MISSING),
        (b'{"image": "a.jpg", "caption": ["x"]}', Status.CAPTION_MISSING),
        (b'{"image": "a.jpg", "caption": null}', None),  # missing, as the scorer says
        (b'{"image": "a.jpg", "caption": "caf\xe9"}', Status.CAPTION_INVALID),
        (b'{"image": "a.jpg", "caption": "\\ud800"}', Status.CAPTION_INVALID),
        (b'{"image": {"path": "a.jpg"}, "caption": "x"}', Status.IMAGE_MISSING),
        (b'{"caption": "x"}', Status.IMAGE_MISSING),
        (b'{"image": null, "caption": "x"}', Status.IMAGE_MISSING),
        (b'{"image": "a.jpg", "caption": "' + b"x" * 9_000_000 + b'"}', Status.ROW_INVALID),
        (b"[" * 100_000, Status.ROW_INVALID),
    ],
)
def test_a_bad_line_costs_itself(
    tmp_path: Path, images: Path, line: bytes, status: Status | None
) -> None:
    good = b'{"image": "sub/b.jpg", "caption": "good"}\r\n'
    table = tmp_path / "t.jsonl"
    table.write_bytes(b"\xef\xbb\xbf" + good + line + b"\n\n   \r\n" + good)
    pairs = pairs_of(table, image_root=str(images))
    assert [pair.fault.status if pair.fault else None for pair in pairs] == [None, status, None]
    assert [pairs[0].caption, pairs[2].caption] == ["good", "good"]
    assert len({pair.key for pair in pairs}) == 3


def test_a_truncated_gz_loses_only_its_end(tmp_path: Path, images: Path) -> None:
    rows = [{"image": "a.jpg", "caption": uuid.uuid4().hex * 50} for _ in range(200)]
    table = lines(tmp_path / "t.jsonl.gz", rows)
    table.write_bytes(table.read_bytes()[:-4000])
    *pairs, last = pairs_of(table, image_root=str(images))
    assert 0 < len(pairs) < 200
    assert [pair.caption for pair in pairs] == [row["caption"] for row in rows[: len(pairs)]]
    assert last.fault is not None
    assert last.fault.status is Status.ROW_INVALID


def test_a_folder_of_json_lines_alone_is_their_rows(tmp_path: Path, images: Path) -> None:
    for name in ("x/1.jsonl", "x/2.jsonl.gz"):
        lines(tmp_path / "tables" / name, [{"image": "a.jpg", "caption": name}])
    found = find_shards(str(tmp_path / "tables"), image_root=str(images))
    assert [shard.name for shard in found.shards] == ["x/1".replace("/", "__"), "x__2"]
    pairs = [pair for shard in found.shards for pair in open_shard(shard)]
    assert [pair.caption for pair in pairs] == ["x/1.jsonl", "x/2.jsonl.gz"]


def test_a_root_in_a_remote_storage() -> None:
    root = f"memory://{uuid.uuid4().hex}"
    count = 3 * AHEAD
    memory = fsspec.filesystem("memory")
    for number in range(count):
        memory.pipe(f"{root}/images/{number}.jpg", str(number).encode())
    names = [*(f"images/{n}.jpg" for n in range(count)), "images/gone.jpg",
             f"{root}/images/1.jpg", "memory://other/1.jpg"]  # fmt: skip
    content = "".join(json.dumps({"image": name, "caption": name}) + "\n" for name in names)
    memory.pipe(f"{root}/tables/t.jsonl", content.encode())
    *pairs, gone, whole, other = pairs_of(f"{root}/tables/t.jsonl", image_root=root)
    assert [pair.image for pair in pairs] == [str(n).encode() for n in range(count)]
    assert whole.image == b"1"
    assert "does not exist" in told(gone)
    assert "--image-root" in told(other)


def test_a_storage_that_fails_is_no_missing_image(monkeypatch: pytest.MonkeyPatch) -> None:
    error = StorageError("the store is overloaded", Cause.BUSY)
    tries = []

    def fail(url: str) -> Any:
        tries.append(url)
        raise error

    monkeypatch.setattr("pairsift.sources.files.open_file", fail)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(StorageError):
        read_file("memory://x/1.jpg", 10, Status.IMAGE_MISSING, Status.IMAGE_TOO_LARGE)
    assert len(tries) == 3
    error.cause = Cause.DENIED
    found = read_file("memory://x/1.jpg", 10, Status.IMAGE_MISSING, Status.IMAGE_TOO_LARGE)
    assert isinstance(found, Fault)
    assert found.status is Status.READ_ERROR


def test_rows_stay_in_order_and_an_error_ends_them() -> None:
    def half(number: int) -> float:
        return 1 / (number - 50)

    assert list(in_order(range(20), str, 4)) == [(n, str(n)) for n in range(20)]
    found = in_order(range(100), half, 4)
    assert [next(found)[0] for _ in range(50)] == list(range(50))
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_the_option_is_refused_for_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a": {"jpg": b"", "txt": "x"}})
    with pytest.raises(PairsiftError, match="'image_root' cannot be used with a webdataset"):
        find_shards(str(tmp_path), image_root=str(tmp_path))


@pytest.mark.parametrize("name", ["gone", "t.jsonl", "gone/deeper"])
def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a.jpg", "caption": "x"}\n')
    with pytest.raises(PairsiftError, match=f"--image-root .*{name}: there is no folder /"):
        find_shards(str(tmp_path / "t.jsonl"), image_root=str(tmp_path / name))


@pytest.mark.slow
def test_scored_selected_and_written_as_a_tar_is(tmp_path: Path) -> None:
    pictures = {f"{n:03d}": jpeg(100 + n, 80, n) for n in range(40)}
    (tmp_path / "images").mkdir()
    for key, content in pictures.items():
        (tmp_path / "images" / f"{key}.jpg").write_bytes(content)
    captions = {key: "a dog " * (1 + int(key) % 7) for key in pictures}
    for part in (0, 1):
        keys = [key for key in pictures if int(key) % 2 == part]
        rows = [{"key": k, "path": f"{k}.jpg", "text": captions[k], "site": "x"} for k in keys]
        lines(tmp_path / "pool" / f"{part}.jsonl", rows)
        samples = {key: {"jpg": pictures[key], "txt": captions[key]} for key in keys}
        (tmp_path / "tars").mkdir(exist_ok=True)
        write_tar(tmp_path / "tars" / f"{part}.tar", samples)
    shared = ["--scorer", "heuristics", "--workers", "0"]
    run = partial(done, tmp_path)
    run("score", "pool", "--image-root", "images", *shared, "--out", "from-lines")
    run("score", "tars", *shared, "--out", "from-tars")
    for part in ("0", "1"):
        table, _ = read_table(Folder(tmp_path / "from-lines"), f"pool__{part}")
        other, _ = read_table(Folder(tmp_path / "from-tars"), part)
        assert table.drop_columns("shard") == other.drop_columns("shard")
    for name in ("lines", "tars"):
        run("select", f"from-{name}", "--where", "caption_words > 5", "--out", f"best-{name}")
        run("write", f"best-{name}", "--webdataset", f"kept-{name}")
    kept = [
        sorted(
            (pair.key, pair.image, pair.caption)
            for shard in find_shards(str(tmp_path / f"kept-{name}")).shards
            for pair in open_shard(shard)
        )
        for name in ("lines", "tars")
    ]
    assert kept[0] == kept[1] != []


def test_a_moved_pool_takes_its_images_with_it() -> None:
    facts = {
        "source": "/old/tables", "source_kind": "folder", "source_root": "/old",
        "source_options": {"captions_file": "t.jsonl", "image_root": "/old/images"},
    }  # fmt: skip
    shard = find_source("t", facts, root="/new")
    assert shard.url == "/new/tables"
    assert dict(shard.options) == {"captions_file": "t.jsonl", "image_root": "/new/images"}
    facts["source_options"] = {"captions_file": "t.jsonl", "image_root": "/older"}
    assert dict(find_source("t", facts, root="/new").options)["image_root"] == "/older"


def test_images_that_change_after_scoring_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg())
    lines(tmp_path / "pool" / "t.jsonl", [{"image": "a.jpg", "caption": "a dog"}])
    run = partial(done, tmp_path)
    run("score", "pool/t.jsonl", "--image-root", "images", "--scorer", "heuristics",
        "--workers", "0", "--out", "scores")  # fmt: skip
    run("select", "scores", "--where", "caption_words > 0", "--out", "best")
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg(seed=3))
    refused = pairsift("write", "best", "--webdataset", "kept", cwd=tmp_path)
    assert refused.returncode == 2
    assert "has changed since it was scored" in refused.stderr
