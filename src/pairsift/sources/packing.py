"""Compressed files, detected by their first bytes: gzip, bzip2, xz, zstandard, lz4."""

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


class MissingPackageError(PairsiftError):
    """The package that decompresses a file is not installed; whoever opened it names the file."""


def find_packing(start: bytes) -> str | None:
    """Return how a file is compressed, from its first 6 bytes; None if it is not."""
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


def open_packed(file: io.BufferedReader[Any]) -> tuple[Any, str | None]:
    """Return the decompressed content of an open file, to be read forwards, and its compression.

    Raises:
        MissingPackageError: the package that decompresses it is not installed.
    """
    packing = find_packing(file.peek(6)[:6])
    return (file if packing is None else unpacked(file, packing)), packing


def unpacked(file: Any, packing: str) -> Any:
    """Return a file with the decompressed content of `file`, to be read forwards.

    Raises:
        MissingPackageError: the package that decompresses it is not installed.
    """
    from fsspec.compression import compr

    if packing not in compr:
        raise MissingPackageError(
            f"is compressed with {packing}: pip install {_PACKAGES[packing]}, or decompress it"
        )
    opened = compr[packing](file, mode="rb")
    if isinstance(opened, io.BufferedIOBase):
        return opened
    return io.BufferedReader(cast("io.RawIOBase", opened))


def is_damage(error: Exception) -> bool:
    """Return whether reading failed because of the content, not because of the storage."""
    if isinstance(error, OSError):
        return error.errno is None  # bzip2 and gzip raise OSError without a number
    return isinstance(error, EOFError | zlib.error | lzma.LZMAError) or type(
        error
    ).__module__.startswith(("zstandard", "backports.zstd", "compression", "lz4", "_lz4"))
