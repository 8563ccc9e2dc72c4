"""Decode untrusted image bytes to RGB pixels, or say why not.

Sizes are checked before pixels are allocated, no decoder parses metadata, and every error of a
decoder becomes an :class:`ImageFaultError`. Threads and processes may decode at the same time.
Pillow's process-wide settings have no effect: neither its limit of pixels, nor its switch for
truncated images, which other libraries turn on and which would replace missing pixels by grey.

The pixels are:

- the first frame of an animation;
- rotated as the EXIF orientation says;
- with transparent parts over white, as on a web page;
- scaled to 8 bits from 16-bit, 32-bit and float greys, not clipped;
- without colour profiles, and with plainly converted CMYK, as in CLIP's training pipelines.
"""

from __future__ import annotations

import base64
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, features
from PIL import ImageFile as ImageFileModule
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pairsift import image_headers
from pairsift.image_formats import find_format, what_else
from pairsift.pair import Status

Size = tuple[int, int]
_MAX_SIDE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image that is decoded; larger ones get the status ``image_too_large``.

    Attributes:
        max_bytes: size of the encoded image in bytes; 32 MiB.
        max_pixels: width times height, as the file declares them; 64 million. Decoding takes up
            to 13 bytes of memory per pixel.

    Examples:
        >>> from pathlib import Path
        >>> from pairsift.images import ImageFaultError, decode_image
        >>> try:
        ...     decode_image(Path("pool/d.png").read_bytes(), ImageLimits(max_pixels=100_000))
        ... except ImageFaultError as error:
        ...     print(error)
        400 x 400 pixels; at most 100,000 are decoded
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 64_000_000


class ImageFaultError(Exception):
    """The image cannot be read or decoded; the message is the reason.

    Attributes:
        status: image_missing, image_corrupt, image_unsupported or image_too_large.
        size: (width, height) as stored, in pixels, if it could be read.
    """

    def __init__(self, status: Status, message: str, size: Size | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size

    def __reduce__(self) -> tuple[type[ImageFaultError], tuple[Status, str, Size | None]]:
        return type(self), (self.status, str(self), self.size)


def decode_image(data: bytes | None, limits: ImageLimits | None = None) -> tuple[Image.Image, Size]:
    """Decode an image of unknown origin within limits of size.

    JPEG, PNG, WebP, GIF, BMP, TIFF and PNM are always read; AVIF, JPEG 2000, HEIC and JPEG XL if
    the installed Pillow, or a plug-in of it, reads them. Other known formats get the status
    ``image_unsupported``.

    Args:
        data: the encoded image; None for a sample that has none.
        limits: the largest image to decode; None for the defaults of :class:`ImageLimits`.

    Returns:
        an RGB image, fully loaded, and its (width, height) in pixels as stored, before the EXIF
        orientation is applied.

    Raises:
        ImageFaultError: the image cannot be decoded; `status` says why. No other exception is
            raised, whatever the bytes are.

    Examples:
        >>> from pathlib import Path
        >>> image, size = decode_image(Path("pool/a.png").read_bytes())
        >>> image.mode, size
        ('RGB', (300, 300))
    """
    limits = limits or ImageLimits()
    if data is None:
        raise ImageFaultError(Status.IMAGE_MISSING, "the sample has no image")
    if not data:
        raise ImageFaultError(Status.IMAGE_CORRUPT, "the image is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageFaultError(
            Status.IMAGE_TOO_LARGE, f"{len(data):,} bytes; the limit is {limits.max_bytes:,}"
        )
    size = None
    try:
        open_file = _find_format(data, limits)
        with _strict, open_file(io.BytesIO(data)) as file:
            orientation = _orientation(file, data)
            size = file.size
            if max(size) > _MAX_SIDE:  # no column of a score table can hold such a size
                refused, size = size, None
                raise ImageFaultError(
                    Status.IMAGE_TOO_LARGE, f"{refused[0]} x {refused[1]} pixels declared"
                )
            if isinstance(file, _Tiff) and orientation > 4:
                size = size[1], size[0]  # only for TIFF, Pillow returns the size after rotation
            _check_size(size, limits)
            file.load()
            _check_size(file.size, limits)  # some decoders know the size only after decoding
            image = _to_rgb(file)
    except ImageFaultError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageFaultError(Status.IMAGE_TOO_LARGE, _in_words(error), size) from error
    except Exception as error:
        raise ImageFaultError(Status.IMAGE_CORRUPT, _in_words(error), size) from error
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    image.info = {}  # profiles and EXIF are not needed any more
    return image, size


def jpeg_data_uri(image: Image.Image, max_side: int) -> str:
    """Encode an RGB image for web services: scaled down to fit, JPEG, without metadata."""
    sent = image.copy()
    sent.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    sent.save(file, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


class _Strict:
    """Keeps Pillow's switch for truncated images off while at least one decode is running.

    Pillow offers no argument for it. If nobody turned it on, nothing is changed.
    """

    def __init__(self) -> None:
        self._switch = False
        self._begin()
        os.register_at_fork(
            after_in_child=self._begin
        )  # after a fork, other threads do not exist any more

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if ImageFileModule.LOAD_TRUNCATED_IMAGES:
                self._switch, ImageFileModule.LOAD_TRUNCATED_IMAGES = True, False

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._switch and not self._inside:
                self._switch, ImageFileModule.LOAD_TRUNCATED_IMAGES = False, True


_strict = _Strict()


class _Jpeg(JpegImageFile):
    # Pillow reads the resolution from EXIF, whose directory may name the same bytes thousands of
    # times. Only the orientation is needed, and it is read separately.
    def getexif(self) -> Image.Exif:
        return Image.Exif()


class _Tiff(TiffImageFile):
    # As above; also, Pillow would rotate the image while loading it.
    def getexif(self) -> Image.Exif:
        return Image.Exif()


def _find_format(data: bytes, limits: ImageLimits) -> Callable[[io.BytesIO], Image.Image]:
    """Recognise the format by its first bytes, and check what its decoder would trust.

    The decoder's classes are used instead of ``Image.open``, which warns and raises errors by a
    process-wide limit.
    """
    found = find_format(data)
    if found is None:
        raise ImageFaultError(
            Status.IMAGE_CORRUPT, f"no image: {what_else(data)}, which begins with {data[:12]!r}"
        )
    check, find_opener = _DECODERS.get(found.name, (None, _no_opener))
    opener = find_opener()
    if opener is None:
        cure = f"install {found.needs} to read it" if found.needs else "convert it to PNG or JPEG"
        raise ImageFaultError(
            Status.IMAGE_UNSUPPORTED, f"the image is {found.name}, which cannot be read; {cure}"
        )
    if check is not None:
        check(data, limits)
    return opener


def _check_size(size: Size, limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageFaultError(Status.IMAGE_CORRUPT, f"{width} x {height} pixels", size)
    if width * height > limits.max_pixels:
        raise ImageFaultError(
            Status.IMAGE_TOO_LARGE,
            f"{width} x {height} pixels; at most {limits.max_pixels:,} are decoded",
            size,
        )


_Check = Callable[[bytes, ImageLimits], None]
_Opener = Callable[[io.BytesIO], Image.Image]


def _no_opener() -> _Opener | None:
    return None


def _avif() -> _Opener | None:
    try:
        from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile
    except ImportError:  # Pillow before 11.3
        return None
    if not SUPPORTED:
        return None
    return lambda file: AvifImageFile(io.BytesIO(image_headers.without_exif(file.getvalue())))


def _heic() -> _Opener | None:
    try:
        from pillow_heif import HeifImageFile
    except Exception:  # the package or its libraries are missing
        return None
    opener: _Opener = HeifImageFile
    return opener


def _jpeg_xl() -> _Opener | None:
    try:
        from pillow_jxl import Decoder
    except Exception:
        return None

    def open_jpeg_xl(file: io.BytesIO) -> Image.Image:
        # Not the plug-in's own class, which lets Pillow open a JPEG inside it without our checks.
        try:
            is_jpeg, info, content, *_ = Decoder(num_threads=0)(file.getvalue())
        except Exception as error:  # its own error is about how it was compiled
            raise ValueError("JPEG XL: broken or truncated") from error
        if is_jpeg:
            return _Jpeg(io.BytesIO(content))
        return Image.frombytes(info.mode, (info.width, info.height), content)

    return open_jpeg_xl


def _checks_size(size_of: Callable[[bytes], Size]) -> _Check:
    return lambda data, limits: _check_size(size_of(data), limits)


# By format: what is checked before the decoder is created, and where the decoder is.
_DECODERS: dict[str, tuple[_Check | None, Callable[[], _Opener | None]]] = {
    "JPEG": (
        lambda data, limits: image_headers.check_jpeg(data, limits.max_pixels),
        lambda: _Jpeg,
    ),
    "PNG": (None, lambda: PngImageFile),
    "WebP": (_checks_size(image_headers.webp_size), lambda: WebPImageFile),
    "GIF": (_checks_size(image_headers.gif_size), lambda: GifImageFile),
    "BMP": (None, lambda: BmpImageFile),
    "TIFF": (
        lambda data, limits: image_headers.check_tiff(data, limits.max_pixels),
        lambda: _Tiff,
    ),
    "PNM": (None, lambda: PpmImageFile),
    "AVIF": (None, _avif),
    "HEIC": (None, _heic),
    "JPEG XL": (_checks_size(image_headers.jpeg_xl_size), _jpeg_xl),
    "JPEG 2000": (
        _checks_size(image_headers.jpeg2000_size),
        lambda: Jpeg2KImageFile if features.check("jpg_2000") else None,
    ),
}


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(file: Image.Image, data: bytes) -> int:
    exif = data if isinstance(file, _Tiff) else file.info.get("exif")
    return image_headers.exif_orientation(exif) if isinstance(exif, bytes) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey_to_8_bits(image)).convert("RGB")
    if not image.has_transparency_data:
        # convert() would copy pixels that are RGB; the file's object is left behind with its file.
        return image._new(image.im) if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    page = Image.new("RGB", layer.size, "white")
    page.paste(layer, mask=layer.getchannel("A"))
    return page


def _grey_to_8_bits(image: Image.Image) -> np.ndarray:
    """Scale to 0..255: 16-bit values by their range, others from minimum to maximum."""
    if image.mode == "I;16B":  # some versions of Pillow give numpy the wrong byte order
        image = image.convert("I")
    values = np.asarray(image)
    eight_bits: np.ndarray
    if values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= 0xFFFF:
        eight_bits = (values >> 8).astype(np.uint8)
        return eight_bits
    values = np.nan_to_num(values.astype(np.float64))
    span = values.max() - values.min()
    scaled = (values - values.min()) * (255 / span) if span > 0 else np.zeros_like(values)
    eight_bits = np.rint(scaled).astype(np.uint8)
    return eight_bits


def _in_words(error: BaseException) -> str:
    # Messages may quote the file; a score table needs short, valid text.
    words = str(error).encode("utf-8", "backslashreplace").decode()[:300]
    return words or type(error).__name__
