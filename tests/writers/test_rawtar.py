"""Samples of a tar as byte ranges, found without decoding anything."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pairsift.errors import PairsiftError
from pairsift.writers.rawtar import BLOCK, RawTar, member_end
from tests.samples import tar_bytes

ONCE = frozenset({b"jpg", b"txt"})
LONG = "x" * 120


def packed(
    names: list[str], format: int = tarfile.PAX_FORMAT, errors: str = "surrogateescape"
) -> bytes:
    """A tar whose files hold their own names; a name that ends with / is a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, errors=errors) as tar:
        for name in names:
            header = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                header.type = tarfile.DIRTYPE
            content = b"" if name.endswith("/") else name.encode("utf-8", "surrogateescape")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


def sample(tar: RawTar, key: str) -> list[str] | None:
    """The contents of the next sample of that key."""
    found = tar.find(key, ONCE)
    if found is None:
        return None
    return [tar.read(data, size).decode("utf-8", "surrogateescape") for _, _, data, size in found]


NAMES = ["a.jpg", "a.txt", "b.txt", "b.jpg", "dir/", f"{LONG}.jpg", f"{LONG}.txt", "c.jpg"]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("packing", ["", "gz", "url"])
def test_samples_are_found_in_tars_of_every_format(
    tmp_path: Path, format: int, packing: str
) -> None:
    names = [name.replace("x" * 120, "d" * 60 + "/" + "x" * 59) for name in NAMES]
    data = packed(names, format)
    url = str(tmp_path / "a.tar")
    Path(url).write_bytes(gzip.compress(data) if packing == "gz" else data)
    if packing == "url":
        url = "memory://rawtar/a.tar"
        fsspec.filesystem("memory").pipe_file("/rawtar/a.tar", data)
    with RawTar(url) as tar:
        long = names[5].removesuffix(".jpg")
        assert sample(tar, "a") == ["a.jpg", "a.txt"]
        assert sample(tar, long) == [f"{long}.jpg", f"{long}.txt"]  # the one in between is passed
        assert sample(tar, "c") == ["c.jpg"]
        assert sample(tar, "a") is None  # forwards only
        tar.seek(0)
        assert sample(tar, "b") == ["b.txt", "b.jpg"]


def test_a_second_file_that_a_sample_has_only_once_begins_another(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed(["a.jpg", "a.json", "a.JPG", "a.json", "a.more", "a.json"]))
    with RawTar(str(path)) as tar:
        assert sample(tar, "a") == ["a.jpg", "a.json"]
        assert sample(tar, "a") == ["a.JPG", "a.json", "a.more", "a.json"]
        assert sample(tar, "a") is None


def test_a_key_is_not_the_beginning_of_another(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed(["ab.jpg", "a.b/c.jpg", "a.jpg", "a.b.txt"]))
    with RawTar(str(path)) as tar:
        assert tar.starts_sample(2 * 2 * BLOCK, "a")
        assert not tar.starts_sample(0, "a")
        assert not tar.starts_sample(2 * BLOCK, "a")
        assert sample(tar, "a") == ["a.jpg", "a.b.txt"]


def test_a_key_that_is_not_utf_8_is_found_by_its_form_in_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed(["a.jpg", "\udce9.jpg", "b.jpg"], tarfile.GNU_FORMAT))
    with RawTar(str(path)) as tar:
        assert sample(tar, "\\xe9") == ["\udce9.jpg"]


def test_files_without_a_key_inside_a_sample_are_passed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed(["a.jpg", "README", "dir/", "a.txt", "b.jpg"]))
    with RawTar(str(path)) as tar:
        assert sample(tar, "a") == ["a.jpg", "a.txt"]
        assert sample(tar, "b") == ["b.jpg"]


def test_the_end_of_a_member_is_where_the_next_header_starts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes([("a.jpg", b"x" * 512), ("a.txt", b""), ("b.jpg", b"x" * 513)]))
    with RawTar(str(path)) as tar:
        ends = [member_end(member) for key in "ab" for member in tar.find(key, ONCE) or []]
    assert ends == [2 * BLOCK, 3 * BLOCK, 6 * BLOCK]


def test_a_damaged_header_is_told_with_its_place(tmp_path: Path) -> None:
    data = bytearray(packed(["a.jpg", "b.jpg"]))
    data[2 * BLOCK : 3 * BLOCK] = b"\xff" * BLOCK
    (tmp_path / "a.tar").write_bytes(data)
    with (
        RawTar(str(tmp_path / "a.tar")) as tar,
        pytest.raises(PairsiftError, match="is damaged at byte 1,024 .*score it again"),
    ):
        tar.find("b", ONCE)


def test_a_file_that_is_written_to_is_noticed_and_one_that_is_replaced_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed(["a.jpg"]))
    with RawTar(str(path)) as tar:
        assert not tar.was_written
        (tmp_path / "new").write_bytes(b"another")
        os.replace(tmp_path / "new", path)
        assert not tar.was_written
        assert tar.find("a", ONCE)
    with RawTar(str(path)) as tar:
        with path.open("ab") as file:
            file.write(b"more")
        assert tar.was_written
        assert tar.size == len(b"another")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_compressed_tar_that_is_cut_off_holds_what_came_before(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(tar_bytes([("a.jpg", b"whole"), ("b.jpg", os.urandom(300_000))]))
    (tmp_path / "a.tar.gz").write_bytes(data[: 9 * len(data) // 10])
    with RawTar(str(tmp_path / "a.tar.gz")) as tar:
        assert sample(tar, "a") == ["whole"]


@pytest.mark.parametrize("name", ["gone.tar", "folder"])
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(PairsiftError, match=name):
        RawTar(str(tmp_path / name))
