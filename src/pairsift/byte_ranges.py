"""Where samples lie in their tar, and their checksums, as noted when they were scored.

With the places a subset is copied unsearched; with the checksums nothing else is copied than what
was scored. Both stand in the score table's key-value metadata.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

BYTE_RANGES_KEY = b"pairsift.extents"
"""base64 of deflated little-endian int64 differences"""
CHECKS_KEY = b"pairsift.checks"
"""base64 of a little-endian uint32 a row: what :meth:`ShardReader.check` gave"""


def encode_byte_ranges(places: Sequence[int]) -> bytes:
    """Bytes for the table's metadata, some four a row.

    Args:
        places: start and end of every row's sample in the (unpacked) tar, one after the other; -1
            twice where its members do not lie together.
    """
    flat = np.asarray(places, dtype="<i8")
    return base64.b64encode(zlib.compress(np.diff(flat, prepend=0).tobytes(), 6))


def decode_byte_ranges(metadata: Mapping[bytes, bytes] | None) -> np.ndarray | None:
    """(rows, 2) int64 from a table's metadata; None where there is nothing usable."""
    stored = (metadata or {}).get(BYTE_RANGES_KEY)
    if stored is None:
        return None
    try:
        differences = np.frombuffer(zlib.decompress(base64.b64decode(stored)), dtype="<i8")
        return differences.cumsum().reshape(-1, 2)
    except (ValueError, zlib.error):
        return None  # then the tar is searched


def encode_checks(checks: Sequence[int]) -> bytes:
    """Bytes for the table's metadata, six a row.

    Args:
        checks: the checksum of every row.
    """
    return base64.b64encode(np.asarray(checks, dtype="<u4").tobytes())


def decode_checks(metadata: Mapping[bytes, bytes] | None) -> np.ndarray | None:
    """(rows,) uint32 from a table's metadata; None for tables of before there were checksums."""
    stored = (metadata or {}).get(CHECKS_KEY)
    if stored is None:
        return None
    try:
        return np.frombuffer(base64.b64decode(stored), dtype="<u4")
    except ValueError:
        return None
