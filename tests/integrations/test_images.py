"""Images of other tools become encoded bytes, or a fault of their row."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from pairsift.images import ImageLimits, decode_image
from pairsift.integrations.images import encoded_image
from pairsift.pair import Fault, Status
from tests.samples import jpeg, picture, png

DATA = jpeg(40, 30)


def decoded(value: Any) -> Image.Image:
    """The image as the scorers get it."""
    data = encoded_image(value)
    assert isinstance(data, bytes), data
    return decode_image(data, ImageLimits())[0]


def fault(value: Any, **limits: Any) -> Fault:
    found = encoded_image(value, ImageLimits(**limits))
    assert isinstance(found, Fault), found
    return found


def pixels(value: Any) -> list[Any]:
    return np.asarray(decoded(value)).tolist()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_taken_as_they_are(kind: Any) -> None:
    assert encoded_image(kind(DATA)) == DATA
    assert encoded_image(kind(b"no image")) == b"no image"


def test_no_image_is_none() -> None:
    for value in (None, {"bytes": None, "path": None}, {}):
        assert encoded_image(value) is None


def test_images_are_read_from_paths_and_urls(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(DATA)
    store = fsspec.filesystem("memory")
    store.pipe_file("/images/a.jpg", DATA)
    for value in (tmp_path / "a.jpg", str(tmp_path / "a.jpg"), "memory://images/a.jpg"):
        assert encoded_image(value) == DATA
        assert encoded_image({"path": str(value), "bytes": None}) == DATA
    assert encoded_image({"path": "ignored", "bytes": b"x"}) == b"x"
    assert encoded_image({"path": "ignored", "bytes": b""}) == b""


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        ("/gone/a.jpg", Status.IMAGE_MISSING, "there is no file /gone/a.jpg"),
        ("memory://images/gone.jpg", Status.IMAGE_MISSING, "there is no file"),
        ("/", Status.READ_ERROR, "/: IsADirectoryError"),
        ("nosuch://a.jpg", Status.READ_ERROR, "nosuch://a.jpg: ValueError"),
        ("x" * 5000, Status.READ_ERROR, "xxx"),
        (5, Status.IMAGE_CORRUPT, "not an image but a int"),
        ([DATA], Status.IMAGE_CORRUPT, "not an image but a list"),
    ],
)
def test_what_cannot_be_read_is_a_fault(value: Any, status: Status, words: str) -> None:
    found = fault(value)
    assert found.status is status
    assert words in found.error
    assert len(found.error) <= 300


def test_of_a_large_file_no_more_is_read_than_shows_that_it_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(100_000))
    assert len(encoded_image(tmp_path / "a.jpg", ImageLimits(max_bytes=10)) or b"") == 11  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "PA", "CMYK", "F", "HSV"])
def test_pil_images_of_every_mode_keep_their_pixels(mode: str) -> None:
    plain = picture(30, 20).convert("RGB" if mode in ("PA", "LA") else mode)
    image = plain.convert("L").convert("LA") if mode == "LA" else plain
    image = plain.convert("P").convert("PA") if mode == "PA" else image
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(decoded(image).convert("RGB")), expected)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_pil_images_of_16_bits_are_taken(mode: str) -> None:
    values = np.array([[0, 256, 65535], [4096, 32768, 1]], np.uint16)
    image = Image.fromarray(values).convert("I").convert(mode)
    assert image.mode == mode
    stored = io.BytesIO()
    Image.fromarray(values).save(stored, "PNG")
    assert pixels(image) == pixels(stored.getvalue())


def test_small_images_are_stored_fast_and_large_ones_small() -> None:
    image = picture(30, 20)
    assert (encoded_image(image) or b"")[:2] == b"BM"  # type: ignore[index]
    tight = encoded_image(image, ImageLimits(max_bytes=2400))
    assert (tight or b"")[:4] == b"\x89PNG"  # type: ignore[index]
    assert pixels(tight) == pixels(image) == np.asarray(image).tolist()


def test_arrays_are_grey_or_of_three_colours() -> None:
    colours = np.asarray(picture(30, 20))
    assert pixels(colours) == colours.tolist()
    assert pixels(colours[..., 0]) == np.repeat(colours[..., :1], 3, axis=2).tolist()
    assert pixels(np.asfortranarray(colours)[::-1]) == colours[::-1].tolist()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 3, 3)), "pixels of type float64; uint8 is needed, 0 to 255"),
        (np.ones((3, 3), bool), "pixels of type bool"),
        (np.zeros(9, np.uint8), r"pixels of shape (9,); (height, width) or (height, width, 3)"),
        (np.zeros((3, 8, 8), np.uint8), "pixels of shape (3, 8, 8)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "pixels of shape (1, 4, 4, 3)"),
        (np.zeros((0, 3, 3), np.uint8), "pixels of shape (0, 3, 3), which is empty"),
    ],
)
def test_other_arrays_are_faults(array: np.ndarray, words: str) -> None:
    found = fault(array)
    assert found.status is Status.IMAGE_CORRUPT
    assert words in found.error


def test_an_opened_image_whose_file_is_cut_off_is_a_fault() -> None:
    data = png(200, 200)
    image = Image.open(io.BytesIO(data[: len(data) // 2]))
    assert fault(image).status is Status.IMAGE_CORRUPT
