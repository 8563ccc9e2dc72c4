"""Packed files, told by their first bytes: gzip, bzip2, xz, zstandard, lz4."""

from __future__ import annotations

import io
import lzma
import zlib
from typing import Any, cast

from pairsift.errors import PairsiftError

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
_PACKAGES = {"zstd": "zstandard", "lz4": "lz4"}


def find_packing(start: bytes) -> str | None:
    """How a file is packed by its first 6 bytes; None if it is not."""
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


def open_packed(file: io.BufferedReader[Any]) -> tuple[Any, str | None]:
    """What a file that was just opened holds, to be read forwards, and how that is packed.

    Raises:
        PairsiftError: the package that unpacks it is not installed.
    """
    packing = find_packing(file.peek(6)[:6])
    return (file if packing is None else unpacked(file, packing)), packing


def unpacked(file: Any, packing: str) -> Any:
    """A file with what is packed in `file`, to be read forwards.

    Raises:
        PairsiftError: the package that unpacks it is not installed.
    """
    from fsspec.compression import compr

    if packing not in compr:
        raise PairsiftError(
            f"the file is compressed with {packing}: pip install {_PACKAGES[packing]}, or "
            "decompress it"
        )
    opened = compr[packing](file, mode="rb")
    if isinstance(opened, io.BufferedIOBase):
        return opened
    return io.BufferedReader(cast("io.RawIOBase", opened))


def is_damage(error: Exception) -> bool:
    """Whether reading an unpacked file failed for its content, not for its storage."""
    if isinstance(error, OSError):
        return error.errno is None  # bzip2 and gzip raise such, without a number
    return isinstance(error, EOFError | zlib.error | lzma.LZMAError) or type(
        error
    ).__module__.startswith(("zstandard", "backports.zstd", "compression", "lz4", "_lz4"))
