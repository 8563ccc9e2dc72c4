"""Members of a tar, read forwards, with their places and checksums."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections import Counter

import pytest

from pairsift.sources.tar_stream import (
    MAX_HEADER_BYTES,
    BehindEndError,
    DamagedTarError,
    Member,
    iterate_tar,
)
from tests.samples import tar_bytes

FILES = [("a.txt", b"one"), ("b.txt", b"x" * 1500), ("c.txt", b""), ("d.txt", b"y" * 512)]
BLOCK = tarfile.BLOCKSIZE


def members(data: bytes, left_out: Counter[str] | None = None) -> list[tuple[str, bytes]]:
    return [(member.name, member.read()) for member in iterate_tar(io.BytesIO(data), left_out)]


def places(data: bytes) -> list[tuple[int, int]]:
    return [(member.start, member.end) for member in iterate_tar(io.BytesIO(data))]


def packed(*headers: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of headers, each with as many bytes as it says."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for header in headers:
            tar.addfile(header, io.BytesIO(b"z" * header.size) if header.size else None)
    return file.getvalue()


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    made.linkname = "a.txt" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return made


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_members_come_in_their_order(pack: type[bytes]) -> None:
    assert members(pack(tar_bytes(FILES))) == FILES


def test_contents_need_not_be_read() -> None:
    assert [member.name for member in iterate_tar(io.BytesIO(tar_bytes(FILES)))] == [
        name for name, _ in FILES
    ]


def test_places_are_of_headers_and_padded_contents() -> None:
    data = tar_bytes(FILES)
    found = places(data)
    assert found == [
        (0, 2 * BLOCK), (2 * BLOCK, 6 * BLOCK), (6 * BLOCK, 7 * BLOCK), (7 * BLOCK, 9 * BLOCK),
    ]  # fmt: skip
    for (start, end), (name, content) in zip(found, FILES, strict=True):
        assert members(data[start:end] + bytes(2 * BLOCK)) == [(name, content)]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_headers_of_a_long_name_belong_to_its_place(format: int) -> None:
    name = "\u72ac" * 80 + ".txt"
    data = packed(header("a.txt", 3), header(name, 3), format=format)
    (_, start), (again, end) = places(data)
    assert start == again == 2 * BLOCK
    assert end - start > 2 * BLOCK
    assert members(data[start:end] + bytes(2 * BLOCK)) == [(name, b"zzz")]


@pytest.mark.parametrize("reads", [True, False])
def test_a_check_is_of_all_bytes_of_a_member_and_may_go_on(reads: bool) -> None:
    data = tar_bytes(FILES)
    found: list[Member] = []
    for member in iterate_tar(io.BytesIO(data)):
        if member.name == "b.txt":
            member.follow(found[-1].check)
        if reads:
            member.read()
        found.append(member)
    checks = {member.name: member.check for member in found}
    a, b, c, d = places(data)
    assert checks["a.txt"] == zlib.crc32(data[slice(*a)])
    assert checks["b.txt"] == zlib.crc32(data[a[0] : b[1]])
    assert checks["c.txt"] == zlib.crc32(data[slice(*c)])
    assert checks["d.txt"] == zlib.crc32(data[slice(*d)])


def test_what_is_no_regular_file_is_counted_by_its_kind() -> None:
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
    data = packed(header("a.txt", 3), *(header(f"x{k!r}", kind=k) for k in kinds), header("b", 1))
    left_out: Counter[str] = Counter()
    assert [name for name, _ in members(data, left_out)] == ["a.txt", "b"]
    assert left_out == {"links": 2, "devices and pipes": 2}
    assert len(members(data)) == 2


def test_an_empty_archive_has_no_members() -> None:
    assert members(tar_bytes([])) == []
    assert members(bytes(2 * BLOCK)) == []


def whole(data: bytes) -> tuple[list[str], DamagedTarError]:
    """The members that could be read, and what is wrong."""
    names: list[str] = []

    def read() -> None:
        for member in iterate_tar(io.BytesIO(data)):
            member.read()
            names.append(member.name)

    with pytest.raises(DamagedTarError) as found:
        read()
    return names, found.value


@pytest.mark.parametrize(
    ("cut", "names", "in_member", "words"),
    [
        (100, [], False, "no readable header at byte 0"),
        (BLOCK + 2, [], True, "cut off at byte 514, inside 'a.txt'"),
        (BLOCK + 3, ["a.txt"], False, "ends without an end-of-archive mark"),
        (2 * BLOCK, ["a.txt"], False, "ends without an end-of-archive mark"),
        (3 * BLOCK + 700, ["a.txt"], True, "inside 'b.txt'"),
    ],
)
def test_a_tar_that_ends_early(cut: int, names: list[str], in_member: bool, words: str) -> None:
    found, error = whole(tar_bytes(FILES)[:cut])
    assert found == names
    assert error.in_member is in_member
    assert words in str(error)


def test_an_archive_behind_the_end_is_told_with_its_place() -> None:
    data = tar_bytes(FILES)
    names, error = whole(data + data)
    assert len(names) == len(FILES)
    assert isinstance(error, BehindEndError)
    assert f"from byte {len(data):,} on" in str(error)


@pytest.mark.parametrize("data", [b"no tar at all" * 100, b"\xff" * 2000, b"x"])
def test_what_is_no_tar_is_damaged_from_the_start(data: bytes) -> None:
    names, error = whole(data)
    assert (names, error.position) == ([], 0)


def test_broken_compression_is_told_with_the_place_in_the_tar() -> None:
    data = gzip.compress(tar_bytes([("a.txt", bytes(range(256)) * 4000)]), mtime=0)
    names, error = whole(data[: len(data) // 2])
    assert names == []
    assert error.in_member
    assert "broken gzip data after byte" in str(error)


def test_a_header_of_more_than_a_megabyte_is_not_read() -> None:
    long = header("a.txt")
    long.pax_headers = {"comment": "x" * MAX_HEADER_BYTES}
    names, error = whole(packed(header("first", 3), long))
    assert names == ["first"]
    assert "a header of more than 1,048,576 bytes" in str(error)
