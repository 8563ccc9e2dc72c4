"""The list of image formats: their usual suffixes, and the first bytes of their files.

It is used wherever images are recognised by name (sources, image look-up) or by content (decoding,
writing). Only formats with ``read`` are decoded. Pillow reads more, but partly with code that is
not made for untrusted bytes, or by starting other programs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """An image format.

    Attributes:
        name: its name in messages.
        suffixes: of file names, lower case, without the dot; the usual one first.
        begins: matches the first bytes of a file.
        read: whether it is decoded; False for formats that are only recognised for the error
            message.
        needs: what must be installed to decode it, besides Pillow's usual build.
    """

    name: str
    suffixes: tuple[str, ...]
    begins: re.Pattern[bytes]
    read: bool = True
    needs: str | None = None


def _format(
    name: str, suffixes: str, begins: bytes, read: bool = True, needs: str | None = None
) -> ImageFormat:
    return ImageFormat(name, tuple(suffixes.split()), re.compile(begins, re.DOTALL), read, needs)


def _brands(*brands: bytes) -> bytes:
    """Match an ISO base media file with one of these major brands."""
    return rb".{4}ftyp(" + b"|".join(brands) + rb")"


_SVG_START = rb"(\xef\xbb\xbf)?\s*<(svg[\s>]|(\?xml|!--|!DOCTYPE svg).*?<svg[\s>])"

# In order of preference within a sample. HEIC's brand `mif1` may also be an AVIF.
FORMATS: tuple[ImageFormat, ...] = (
    _format("JPEG", "jpg jpeg jpe jfif jif mpo", rb"\xff\xd8\xff"),
    _format("PNG", "png apng", rb"\x89PNG\r\n\x1a\n"),
    _format("WebP", "webp", rb"RIFF.{4}WEBP"),
    _format("GIF", "gif", rb"GIF8[79]a"),
    _format("BMP", "bmp dib", rb"BM"),
    _format("TIFF", "tiff tif", rb"II\*\0|MM\0\*"),
    _format("AVIF", "avif avifs", _brands(b"avif", b"avis"), needs="'pillow>=11.3'"),
    _format(
        "HEIC",
        "heic heif hif heics heifs",
        _brands(b"hei[cxms]", b"hev[cxms]", b"mif1", b"msf1", b"miaf"),
        needs="pillow-heif",
    ),
    _format("JPEG XL", "jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", needs="pillow-jxl-plugin"),
    _format(
        "JPEG 2000",
        "jp2 j2k jpx jpf j2c jpc",
        rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        needs="a Pillow with OpenJPEG",
    ),
    _format("PNM", "ppm pgm pbm pnm", rb"P[1-6]\s"),
    _format("SVG", "svg", _SVG_START, read=False),
    _format("compressed SVG", "svgz", rb"(?!)", read=False),
    _format("ICO", "ico cur", rb"\0\0[\1\2]\0[^\0]\0", read=False),
    _format("Photoshop", "psd psb", rb"8BPS", read=False),
    _format("TGA", "tga", rb"(?!)", read=False),
    _format("OpenEXR", "exr", rb"\x76\x2f\x31\x01", read=False),
    _format("Radiance HDR", "hdr", rb"#\?RADIANCE", read=False),
    _format("QOI", "qoi", rb"qoif", read=False),
    _format("DirectDraw", "dds", rb"DDS ", read=False),
    _format("camera raw", "cr3 raf rw2 orf", rb"FUJIFILMCCD-RAW|.{4}ftypcrx |II[RU]\0", read=False),
    _format("PostScript", "eps", rb"%!PS|\xc5\xd0\xd3\xc6", read=False),
    _format("PDF", "pdf", rb"%PDF-", read=False),
    _format("BPG", "bpg", rb"BPG\xfb", read=False),
)

# If a sample has several images, the first of these suffixes is scored.
IMAGE_SUFFIXES: tuple[str, ...] = tuple(
    suffix
    for each in sorted(FORMATS, key=lambda each: not each.read)
    for suffix in each.suffixes
    # Documents and drawings often lie beside images, so these suffixes do not make a file an image.
    if each.name not in ("PDF", "PostScript")
)
"""Lower case, without the dot, most preferred first; those of unreadable formats come last."""


def is_image_name(name: str) -> bool:
    """Return whether a file's name ends like that of an image; case is ignored."""
    _, dot, suffix = name.rpartition(".")
    return bool(dot) and suffix.lower() in IMAGE_SUFFIXES


def find_format(data: bytes) -> ImageFormat | None:
    """Return the format of a file from its first bytes."""
    head = data[:_HEAD_BYTES]
    return next((each for each in FORMATS if each.begins.match(head)), None)


def image_extension(image: bytes) -> str:
    """Return the extension of an image from its first bytes; ``jpg`` if unknown."""
    found = find_format(image)
    return found.suffixes[0] if found else "jpg"


_NO_IMAGE = (
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.I), "an HTML page"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|Error)"), "an XML document"),
    (re.compile(rb"\s*[{\[]\s*[\"{\[\]}]"), "a JSON document"),
    (re.compile(rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |OggS", re.DOTALL), "a video or audio file"),
    (re.compile(rb"\x1f\x8b|PK\x03\x04|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|Rar!|7z\xbc"), "an archive"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS, not the file itself"),
    (re.compile(rb"data:image/"), "a data URI, not the bytes in it"),
)


def what_else(data: bytes) -> str:
    """Say what a file that is not an image seems to be, in words that follow "it is"."""
    head = data[:_HEAD_BYTES]
    for pattern, words in _NO_IMAGE:
        if pattern.match(head):
            return words
    if head and all(byte in b"\t\n\r\f\x1b" or byte >= 0x20 for byte in head[:256]):
        try:
            head[:256].decode("ascii")
            return "text"
        except UnicodeDecodeError:
            pass
    return "unknown data"
