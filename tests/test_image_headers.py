"""Sizes and limits are read from an image's header, without a decoder."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from pairsift import image_headers
from tests.samples import encode, picture

SIZES = [(8, 8), (256, 256), (300, 200), (1000, 1), (7, 9)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lossless", [False, True])
def test_webp(size: tuple[int, int], lossless: bool) -> None:
    assert image_headers.webp_size(encode(picture(*size), "WEBP", lossless=lossless)) == size


@pytest.mark.parametrize("size", SIZES)
def test_gif(size: tuple[int, int]) -> None:
    assert image_headers.gif_size(encode(picture(*size), "GIF")) == size


@pytest.mark.parametrize("size", [*SIZES, (160, 90)])
def test_jpeg_xl(size: tuple[int, int]) -> None:
    pytest.importorskip("pillow_jxl")
    assert image_headers.jpeg_xl_size(encode(picture(*size), "JXL")) == size


def test_jpeg_2000_tells_the_largest_codestream() -> None:
    data = encode(picture(64, 48), "JPEG2000")
    assert image_headers.jpeg2000_size(data) == (64, 48)
    start = data.index(b"\xff\x4f\xff\x51")
    lying = data[: start + 8] + struct.pack(">2I", 60_000, 50_000) + data[start + 16 :]
    assert image_headers.jpeg2000_size(data + lying) == (60_000, 50_000)


@pytest.mark.parametrize(
    "read",
    [
        image_headers.webp_size, image_headers.gif_size, image_headers.jpeg2000_size,
        image_headers.jpeg_xl_size,
    ],
)  # fmt: skip
@given(data=st.binary(max_size=60))
def test_rubbish_is_a_value_error(read: object, data: bytes) -> None:
    assert callable(read)
    for start in (b"", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X", b"\xff\x0a", b"\xff\x4f\xff\x51"):
        try:
            width, height = read(start + data)
        except ValueError:
            continue
        assert width >= 0
        assert height >= 0


def test_a_jpeg_with_many_scans_is_refused_by_its_size() -> None:
    data = encode(picture(64, 48), "JPEG")
    scan = b"\xff\xda\0\x02"
    image_headers.check_jpeg(data[:-2] + 90 * scan + data[-2:], max_pixels=5 * 64 * 48)
    for more, max_pixels in ((90, 64 * 48), (1000, 10**9)):
        with pytest.raises(ValueError, match=f"{more + 1} scans over 3,072 pixels"):
            image_headers.check_jpeg(data[:-2] + more * scan + data[-2:], max_pixels)
    image_headers.check_jpeg(data + 1000 * scan, 64 * 48)  # behind the image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation(order: str, orientation: int) -> None:
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(f"{order}HIH", 42, 8, 1)
    block += struct.pack(f"{order}HHIH", 0x0112, 3, 1, orientation) + bytes(6)
    assert image_headers.exif_orientation(b"Exif\0\0" + block) == orientation
    assert image_headers.exif_orientation(block) == orientation


@given(st.binary(max_size=100))
def test_orientation_of_any_block_is_1_to_8(block: bytes) -> None:
    found = image_headers.exif_orientation(b"Exif\0\0II*\0\x08\0\0\0" + block)
    assert found in range(1, 9)


def test_avif_without_exif_has_the_same_pixels() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x010E] = "x" * 500  # the description
    data = encode(picture(64, 48), "AVIF", exif=exif.tobytes())
    stripped = image_headers.without_exif(data)
    assert len(stripped) == len(data)
    with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(stripped)) as bare:
        assert "exif" in whole.info
        assert "exif" not in bare.info
        assert np.array_equal(np.asarray(bare), np.asarray(whole))
