"""Check image headers in bounded time, before decoders that trust them.

A few hundred bytes can make a decoder allocate gigabytes, read a tag's value ten thousand times, or
decode scans for hours. The functions here need time and memory at most proportional to the header.
ValueError means that the file is corrupt.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np

Size = tuple[int, int]

ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 0x0142, 0x0143
# Bytes of one value of each TIFF field type 1..13.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

_MAX_GIF_EXTENSION_BYTES = 2**20
_MAX_JPEG_SCANS = 1000
# Usual progressive files have about ten scans. Allowed: this many passes over the largest image.
_MAX_JPEG_PASSES = 20
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Start of codestream, the marker of the size segment, its length, and the capabilities.
_JPEG_2000_START = re.compile(rb"\xff\x4f\xff\x51.{4}", re.DOTALL)
# Aspect ratios by their code.
_JPEG_XL_RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
# In a scan, ff is followed by 00 or a restart marker; anything else begins a new marker.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


def webp_size(data: bytes) -> Size:
    """Return the canvas size of a WebP, whose decoder allocates the canvas when it is created."""
    if len(data) < 30:
        raise ValueError("WebP: the header is truncated")
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
    """Return the size of a GIF's screen, or of its first frame if that is larger.

    Raises:
        ValueError: the file is truncated before the first frame, or has a megabyte of extensions
            before it.
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
        if introducer != 0x21:  # Pillow skips such bytes too
            position += 1
            continue
        position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
        if position > _MAX_GIF_EXTENSION_BYTES:  # Pillow needs quadratic time for comments
            raise ValueError("GIF: more than a megabyte of extensions before the first frame")
    raise ValueError("GIF: truncated before the first frame")


def jpeg2000_size(data: bytes) -> Size:
    """Return the size in a JPEG 2000's codestream, which the decoder uses, whatever its box says.

    Raises:
        ValueError: there is no codestream.
    """
    largest = (0, 0)
    for match in _JPEG_2000_START.finditer(data):
        if match.end() + 16 <= len(data):
            right, below, left, above = struct.unpack_from(">4I", data, match.end())
            largest = max(
                largest, (right - left, below - above), key=lambda size: size[0] * size[1]
            )
    if min(largest) < 1:
        raise ValueError("JPEG 2000: no codestream")
    return largest


def jpeg_xl_size(data: bytes) -> Size:
    """Return the size of a JPEG XL, whose decoder unpacks all pixels when it is created.

    Raises:
        ValueError: there is no codestream.
    """
    stream = data[:16]
    if not data.startswith(b"\xff\x0a"):
        boxes = dict(reversed(list(_boxes(data))))  # the first box of each kind
        start = boxes.get(b"jxlc") or boxes.get(b"jxlp", slice(0, 0))
        skipped = 0 if b"jxlc" in boxes else 4  # a partial codestream begins with its number
        stream = data[start.start + skipped : start.start + skipped + 16]
    if len(stream) < 8 or not stream.startswith(b"\xff\x0a"):
        raise ValueError("JPEG XL: no codestream")
    bits, position = int.from_bytes(stream, "little"), 16

    def take(count: int) -> int:
        nonlocal position
        position += count
        return bits >> (position - count) & ((1 << count) - 1)

    def side(in_eights: bool) -> int:
        return 8 * (1 + take(5)) if in_eights else 1 + take((9, 13, 18, 30)[take(2)])

    in_eights = bool(take(1))
    height = side(in_eights)
    ratio = take(3)
    if ratio:
        above, below = _JPEG_XL_RATIOS[ratio]
        return height * above // below, height
    return side(in_eights), height


def without_exif(data: bytes) -> bytes:
    """Return an AVIF whose EXIF block the decoder ignores.

    Pillow reads the whole block, whose directory may name the same bytes thousands of times. The
    orientation of an AVIF is stored elsewhere.
    """
    for kind, content in _boxes(data):
        if kind in (b"meta", b"moov"):
            renamed = data[content].replace(b"Exif", b"free")
            data = data[: content.start] + renamed + data[content.stop :]
    return data


def _boxes(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """Yield kind and content of each box at the top of an ISO base media file."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        begin = position + 8
        if size == 1:
            size = int.from_bytes(data[begin : begin + 8], "big")
            begin += 8
        end = min(position + size, len(data)) if size else len(data)
        if end < begin:
            raise ValueError(f"a box of {size:,} bytes at byte {position:,}")
        yield kind, slice(begin, end)
        position = end


def check_jpeg(data: bytes, max_pixels: int) -> None:
    """Refuse a JPEG whose scans would take hours.

    Raises:
        ValueError: it has too many scans for its size.
    """
    values = np.frombuffer(data, np.uint8)  # several times as fast as bytes.count()
    if np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0xDA)) <= _MAX_JPEG_PASSES:
        return  # the usual case; thumbnails count here too
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
    """Refuse a TIFF whose tags claim more than the file holds, or whose tile is too large.

    Raises:
        ValueError: one of these, or there is no readable directory.
    """
    claimed, tile = 0, {_TILE_WIDTH: 1, _TILE_LENGTH: 1}
    for tag, kind, count, value in _directory(data):
        claimed += _TYPE_BYTES.get(kind, 1) * count
        if tag in tile:
            tile[tag] = value
    # Tags may share bytes, but in valid files they hardly do.
    if claimed > 2 * len(data):
        raise ValueError(f"TIFF: tags claim {claimed:,} bytes of a file of {len(data):,}")
    if tile[_TILE_WIDTH] * tile[_TILE_LENGTH] > max_pixels:
        raise ValueError(f"TIFF: a tile of {tile[_TILE_WIDTH]} x {tile[_TILE_LENGTH]} pixels")


def exif_orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 if the block is broken or has none."""
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
