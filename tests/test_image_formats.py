"""Formats, told by suffix and by first bytes."""

from __future__ import annotations

import gzip
import json

import pytest
from PIL import features

from pairsift.image_formats import FORMATS, IMAGE_SUFFIXES, find_format, is_image_name, what_else
from tests.samples import encode, picture

WRITTEN = {
    "JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF",
    "JPEG2000": "JPEG 2000", "PPM": "PNM",
}  # fmt: skip
UNREAD = {"ICO": "ICO", "EPS": "PostScript", "PDF": "PDF", "DDS": "DirectDraw"}


@pytest.mark.parametrize(("pillow", "name"), [*WRITTEN.items(), *UNREAD.items()])
def test_what_pillow_writes_is_known_by_its_first_bytes(pillow: str, name: str) -> None:
    if pillow == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("a Pillow without OpenJPEG")
    found = find_format(encode(picture(32, 24), pillow))
    assert found is not None
    assert (found.name, found.read) == (name, pillow in WRITTEN)


def test_a_suffix_belongs_to_one_format_and_readable_ones_come_first() -> None:
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    read = {suffix for each in FORMATS if each.read for suffix in each.suffixes}
    order = [suffix in read for suffix in IMAGE_SUFFIXES]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("a.jpg", True), ("A.JPEG", True), ("b/c.d/x.WebP", True), ("drawing.svg", True),
        ("jpg", False), ("a.jpg.txt", False), ("a.", False), ("paper.pdf", False), ("", False),
    ],
)  # fmt: skip
def test_names_of_images(name: str, is_image: bool) -> None:
    assert is_image_name(name) is is_image


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"\xef\xbb\xbf<html>", "an HTML page"),
        (b"<Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (json.dumps({"error": 404}).encode(), "a JSON document"),
        (b"\0\0\0\x18ftypmp42", "a video or audio file"),
        (gzip.compress(b"x", mtime=0), "an archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"data:image/png;base64,AAAA", "a data URI"),
        (b"Not found\n", "text"),
        (b"\0\1\2\3", "unknown data"),
        (b"", "unknown data"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    assert find_format(data) is None
    assert what_else(data).startswith(words)
