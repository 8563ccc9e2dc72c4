"""Positions and checksums of samples, as recorded when they were scored.

With the positions, a subset is copied without searching the tar. With the checksums, only samples
that were scored are copied. Both are in the score table's key-value metadata.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

BYTE_RANGES_KEY = b"pairsift.extents"
"""base64 of deflated little-endian int64 differences"""
CHECKS_KEY = b"pairsift.checks"
"""base64 of one little-endian uint32 per row: the result of :meth:`ShardReader.check`"""


def encode_byte_ranges(places: Sequence[int]) -> bytes:
    """Encode positions for the table's metadata, about four bytes per row.

    Args:
        places: start and end of every row's sample in the (decompressed) tar, one after the other;
            -1 twice if its members are not contiguous.
    """
    flat = np.asarray(places, dtype="<i8")
    return base64.b64encode(zlib.compress(np.diff(flat, prepend=0).tobytes(), 6))


def decode_byte_ranges(metadata: Mapping[bytes, bytes] | None) -> np.ndarray | None:
    """Decode (rows, 2) int64 from a table's metadata; None if there is nothing usable."""
    stored = (metadata or {}).get(BYTE_RANGES_KEY)
    if stored is None:
        return None
    try:
        differences = np.frombuffer(zlib.decompress(base64.b64decode(stored)), dtype="<i8")
        return differences.cumsum().reshape(-1, 2)
    except (ValueError, zlib.error):
        return None  # then the tar is searched


def encode_checks(checks: Sequence[int]) -> bytes:
    """Encode checksums for the table's metadata, six bytes per row.

    Args:
        checks: the checksum of every row.
    """
    return base64.b64encode(np.asarray(checks, dtype="<u4").tobytes())


def decode_checks(metadata: Mapping[bytes, bytes] | None) -> np.ndarray | None:
    """Decode (rows,) uint32 from a table's metadata; None for tables older than checksums."""
    stored = (metadata or {}).get(CHECKS_KEY)
    if stored is None:
        return None
    try:
        return np.frombuffer(base64.b64decode(stored), dtype="<u4")
    except ValueError:
        return None
