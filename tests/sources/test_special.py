"""Pipes, devices and sockets with names of shards are never opened: they are told."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pairsift.cli import app
from pairsift.errors import PairsiftError
from pairsift.integrations.images import encoded_image
from pairsift.pair import Fault, Pair, Status
from pairsift.select import select
from pairsift.sources import find_shards, open_shard
from pairsift.sources.caption_files import read_captions
from pairsift.sources.image_store import ImageStore
from tests.samples import good_samples, jpeg, write_tar
from tests.score_folders import score_folder, score_table

WORDS = "is a pipe, device or socket, but a file is expected"


def _bind(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


MAKE: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "socket": _bind,
}


@pytest.fixture(autouse=True)
def no_wait() -> Iterator[None]:
    """Opening a pipe would wait for ever, and reading the device never end."""

    def give_up(*_: object) -> None:
        raise AssertionError("it was opened")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=MAKE)
def make(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return MAKE[request.param]


def pairs_of(path: Path) -> list[Pair]:
    (shard,) = find_shards(str(path)).shards
    return list(open_shard(shard))


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.parquet", "x.csv", "metadata.parquet"])
def test_named(tmp_path: Path, make: Callable[[Path], Any], name: str) -> None:
    make(tmp_path / name)
    with pytest.raises(PairsiftError, match=WORDS):
        find_shards(str(tmp_path / name))
    with pytest.raises(PairsiftError, match=WORDS):
        find_shards(str(tmp_path / name), kind="webdataset")


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/**/*.tar", "/{0,1,x}.tar"])
@pytest.mark.parametrize("beside", ["x.tar", "x.parquet"])
def test_among_tars(tmp_path: Path, make: Callable[[Path], Any], pattern: str, beside: str) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(2):
        write_tar(pool / f"{number}.tar", good_samples(1))
    make(pool / beside)
    if beside == "x.parquet" and pattern:
        pattern = "/*"
    found = find_shards(f"{pool}{pattern}")
    assert [shard.name for shard in found.shards] == ["0", "1"]
    (note,) = found.notes
    assert f"1 pipes, devices and sockets ({pool}/{beside})" in note


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/*"])
@pytest.mark.parametrize("count", [1, 2])
def test_nothing_else(
    tmp_path: Path, make: Callable[[Path], Any], pattern: str, count: int
) -> None:
    for number in range(count):
        make(tmp_path / f"{number}.tar")
    with pytest.raises(PairsiftError, match=r"pipe|pipes"):
        find_shards(f"{tmp_path}{pattern}")


@pytest.mark.parametrize("name", ["captions.csv", "metadata.jsonl", "any.tsv", "metadata.parquet"])
def test_a_table_beside_images(tmp_path: Path, make: Callable[[Path], Any], name: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    make(tmp_path / name)
    with pytest.raises(PairsiftError, match=WORDS):
        pairs_of(tmp_path)
    with pytest.raises(PairsiftError, match=WORDS):
        read_captions(str(tmp_path / name))


def test_images_and_texts_are_rows(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg())
        (tmp_path / f"{name}.txt").write_text("a dog")
    (tmp_path / "a.jpg").unlink()
    make(tmp_path / "a.jpg")
    (tmp_path / "b.txt").unlink()
    make(tmp_path / "b.txt")
    a, b, c = pairs_of(tmp_path)
    assert c.fault is None
    for pair, status in ((a, Status.IMAGE_MISSING), (b, Status.CAPTION_MISSING)):
        assert pair.fault is not None
        assert pair.fault.status is status
        assert WORDS in pair.fault.error


@pytest.mark.parametrize("name", ["x.tar", "x.parquet"])
def test_places_of_images(tmp_path: Path, make: Callable[[Path], Any], name: str) -> None:
    make(tmp_path / name)
    with pytest.raises(PairsiftError, match=WORDS):
        ImageStore([str(tmp_path / name)])


def test_an_image_by_itself(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    path = tmp_path / "a.jpg"
    make(path)
    with pytest.raises(PairsiftError, match=WORDS):
        ImageStore([str(tmp_path)]).read("a.jpg")
    fault = encoded_image(str(path))
    assert isinstance(fault, Fault)
    assert WORDS in fault.error
    result = CliRunner().invoke(app, ["explain", str(path), "a dog"])
    assert WORDS in f"{result.output}{result.exception}"


def test_score_tables_and_lists(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    table = score_table("0", ["a", "b"], {"itm": [1.0, 2.0]})
    scores = score_folder(tmp_path / "scores", {"0": table})
    for name in ("ids.txt", "ids.parquet"):
        make(tmp_path / name)
        with pytest.raises(PairsiftError, match=WORDS):
            select(scores, exclude=[str(tmp_path / name)])
    for name in ("other.csv", "other.parquet"):
        shutil.copytree(tmp_path / "scores", tmp_path / name)
        make(tmp_path / name / name)
        with pytest.raises(PairsiftError, match=WORDS):
            select(scores, joins=[f"other={tmp_path / name / name}"])
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder / "0.parquet")
    with pytest.raises(PairsiftError, match=WORDS):
        select(scores, joins=[f"other={folder}"])
    make(tmp_path / "scores" / "1.parquet")
    with pytest.raises(PairsiftError, match=WORDS):
        select(scores)
