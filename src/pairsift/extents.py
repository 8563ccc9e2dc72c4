"""Where samples lie in their tar, noted at scoring, so that a subset is copied unsearched."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

EXTENTS_KEY = b"pairsift.extents"
"""In a score table's key-value metadata: base64 of deflated little-endian int64 differences."""


def encode_extents(places: Sequence[int]) -> bytes:
    """Bytes for the table's metadata, some four a row.

    Args:
        places: start and end of every row's sample in the (unpacked) tar, one after the other; -1
            twice where its members do not lie together.
    """
    flat = np.asarray(places, dtype="<i8")
    return base64.b64encode(zlib.compress(np.diff(flat, prepend=0).tobytes(), 6))


def decode_extents(metadata: Mapping[bytes, bytes] | None) -> np.ndarray | None:
    """(rows, 2) int64 from a table's metadata; None where there is nothing usable."""
    stored = (metadata or {}).get(EXTENTS_KEY)
    if stored is None:
        return None
    try:
        differences = np.frombuffer(zlib.decompress(base64.b64decode(stored)), dtype="<i8")
        return differences.cumsum().reshape(-1, 2)
    except (ValueError, zlib.error):
        return None  # then the tar is searched
