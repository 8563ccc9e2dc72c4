"""Packed files, told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.sources import Shard, open_shard
from pairsift.sources.packing import find_packing, is_damage, open_packed

CONTENT = bytes(range(256)) * 500
PACKERS = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def _zstd(data: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(data))


@pytest.mark.parametrize(("name", "pack"), [*PACKERS.items(), ("zstd", _zstd)])
def test_what_is_packed_is_read_forwards(name: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(CONTENT)
    assert find_packing(packed[:6]) == name
    opened, packing = open_packed(io.BufferedReader(io.BytesIO(packed)))  # type: ignore[arg-type]
    assert packing == name
    assert opened.read(10) + opened.read() == CONTENT


@pytest.mark.parametrize("content", [b"", b"B", b"plain text", CONTENT])
def test_what_is_not_packed_stays(content: bytes) -> None:
    opened, packing = open_packed(io.BufferedReader(io.BytesIO(content)))  # type: ignore[arg-type]
    assert packing is None
    assert opened.read() == content


@pytest.mark.parametrize(("name", "pack"), [*PACKERS.items(), ("zstd", _zstd)])
def test_a_file_cut_short_is_damage(name: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(CONTENT)
    opened, _ = open_packed(io.BufferedReader(io.BytesIO(packed[: len(packed) // 2])))  # type: ignore[arg-type]
    if name == "zstd":  # its reader stops without a word
        assert len(opened.read()) < len(CONTENT)
        return
    with pytest.raises(Exception) as raised:  # noqa: PT011
        opened.read()
    assert is_damage(raised.value)


def test_a_storage_that_fails_is_no_damage() -> None:
    assert not is_damage(OSError(5, "disk"))
    assert not is_damage(ValueError("a bug"))


def test_a_packing_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.compression import compr

    for name in ("zstd", "lz4"):
        monkeypatch.delitem(compr, name, raising=False)
    for start, package in ((b"\x28\xb5\x2f\xfd", "zstandard"), (b"\x04\x22\x4d\x18", "lz4")):
        with pytest.raises(PairsiftError, match=f"pip install {package}"):
            open_packed(io.BufferedReader(io.BytesIO(start + CONTENT)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "kind"), [("s.tar", "webdataset"), ("captions.csv", "folder")])
def test_a_file_whose_package_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    from fsspec.compression import compr

    monkeypatch.delitem(compr, "lz4", raising=False)
    (tmp_path / name).write_bytes(b"\x04\x22\x4d\x18" + CONTENT)
    with pytest.raises(PairsiftError, match=rf"/{name} is compressed with lz4: pip install lz4"):
        list(open_shard(Shard("s", str(tmp_path if kind == "folder" else tmp_path / name), kind)))
