"""Bounded looks at image headers, ahead of decoders that would trust them.

A few hundred bytes can tell a decoder to allocate a canvas of gigabytes, to gather a tag's value
ten thousand times from the same place, or to run over the pixels once per scan for hours. Here
each walk takes time and memory in proportion to the header at most. ValueError means corrupt.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

Size = tuple[int, int]

ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 0x0142, 0x0143
# TIFF field types 1..13 and the bytes of one value of each.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

_MAX_GIF_EXTENSION_BYTES = 2**20
_MAX_JPEG_SCANS = 1000
# Common progressive files have about ten scans; this many passes over the largest image allowed.
_MAX_JPEG_PASSES = 20
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In a scan, ff is followed by 00 or a restart marker; anything else is a marker of its own.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


def webp_size(data: bytes) -> Size:
    """Canvas size of a WebP; its decoder allocates the canvas as soon as it is made."""
    if len(data) < 30:
        raise ValueError("WebP: the header is cut off")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        return width, 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<2H", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError(f"WebP: unknown first chunk {chunk!r}")


def gif_size(data: bytes) -> Size:
    """Size of a GIF's screen or, where that sticks out, of its first frame.

    Raises:
        ValueError: cut off before the first frame, or a megabyte of extensions comes first.
    """
    if len(data) < 13:
        raise ValueError("GIF: the header is cut off")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (6 << (flags & 7) if flags & 0x80 else 0)
    while position < len(data):
        introducer = data[position]
        if introducer == 0x2C:
            if position + 9 > len(data):
                break
            left, top, frame_width, frame_height = struct.unpack_from("<4H", data, position + 1)
            return max(width, left + frame_width), max(height, top + frame_height)
        if introducer == 0x3B:
            raise ValueError("GIF: no frame")
        if introducer != 0x21:  # Pillow skips stray bytes too
            position += 1
            continue
        position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
        if position > _MAX_GIF_EXTENSION_BYTES:  # Pillow joins comments in quadratic time
            raise ValueError("GIF: more than a megabyte of extensions before the first frame")
    raise ValueError("GIF: cut off before the first frame")


def check_jpeg(data: bytes, max_pixels: int) -> None:
    """Refuse a JPEG whose scans would take hours.

    Raises:
        ValueError: too many scans for its size.
    """
    if data.count(b"\xff\xda") <= _MAX_JPEG_PASSES:  # the usual case; thumbnails count here too
        return
    scans = pixels = 0
    for marker, position in _jpeg_markers(data):
        if marker in _FRAME_MARKERS and position + 7 <= len(data):
            height, width = struct.unpack_from(">2H", data, position + 3)
            pixels = max(pixels, width * height)
        scans += marker == 0xDA
    if scans > _MAX_JPEG_SCANS or scans * pixels > _MAX_JPEG_PASSES * max_pixels:
        raise ValueError(f"JPEG: {scans} scans over {pixels:,} pixels")


def _jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (marker, position after it) up to the end of the image."""
    position = 2
    while match := _JPEG_MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker == 0xD9:
            return
        yield marker, position
        if marker not in (0x01, 0xD8) and position + 2 <= len(data):
            position += max(2, int.from_bytes(data[position : position + 2], "big"))


def check_tiff(data: bytes, max_pixels: int) -> None:
    """Refuse a TIFF whose tags claim more than the file holds, or whose tile is a bomb.

    Raises:
        ValueError: either, or no readable directory.
    """
    claimed, tile = 0, {_TILE_WIDTH: 1, _TILE_LENGTH: 1}
    for tag, kind, count, value in _directory(data):
        claimed += _TYPE_BYTES.get(kind, 1) * count
        if tag in tile:
            tile[tag] = value
    # Tags may share bytes, but honest ones hardly do.
    if claimed > 2 * len(data):
        raise ValueError(f"TIFF: tags claim {claimed:,} bytes of a file of {len(data):,}")
    if tile[_TILE_WIDTH] * tile[_TILE_LENGTH] > max_pixels:
        raise ValueError(f"TIFF: a tile of {tile[_TILE_WIDTH]} x {tile[_TILE_LENGTH]} pixels")


def exif_orientation(exif: bytes) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where the block is broken or says nothing."""
    block = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    try:
        for tag, kind, count, value in _directory(block):
            if tag == ORIENTATION:
                return value if kind in (3, 4) and count == 1 else 1
    except (ValueError, struct.error):
        pass
    return 1


def _directory(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (tag, field type, count, first value if it is inline) of the first directory."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise ValueError("no TIFF header")
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        raise ValueError("TIFF: the directory lies outside of the file")
    (entries,) = struct.unpack_from(f"{order}H", data, start)
    for index in range(entries):
        position = start + 2 + 12 * index
        if position + 12 > len(data):
            raise ValueError("TIFF: the directory is cut off")
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, position)
        (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, position + 8)
        yield tag, kind, count, value
