"""Convert images from other tools to encoded bytes for the checked decoder."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import fsspec
import numpy as np
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Status
from pairsift.sources import files

# Other modes are converted to RGB, because PNG cannot store them.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B")


def encoded_image(value: Any, limits: ImageLimits | None = None) -> bytes | Fault | None:
    """Return the encoded bytes of an image.

    Args:
        value: None; bytes; a path or fsspec URL; ``{"bytes": ..., "path": ...}`` as in Hugging
            Face datasets; a PIL image; or uint8 pixels, (height, width) or (height, width, 3).

    Returns:
        given bytes unchanged; decoded images without loss as BMP or PNG; None if there is no
        image; a fault if it cannot be read.
    """
    limits = limits or ImageLimits()
    if isinstance(value, Mapping):
        held = value.get("bytes")
        value = value.get("path") if held is None else held
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (str, os.PathLike)):
        return _read(os.fspath(value), limits)
    try:
        if isinstance(value, np.ndarray):
            value = _from_pixels(value)
        if isinstance(value, Image.Image):
            return _encode(value, limits)
    except Exception as error:  # an opened image that is decoded only now may fail in many ways
        return Fault(Status.IMAGE_CORRUPT, f"{type(error).__name__}: {error}"[:300])
    return Fault(Status.IMAGE_CORRUPT, f"not an image but a {type(value).__name__}")


def _read(path: str, limits: ImageLimits) -> bytes | Fault:
    try:
        if not files.is_url(path):
            files.refuse_special(path)
        with fsspec.open(path, "rb") as file:
            # One byte above the limit is enough for the decoder to refuse it.
            data: bytes = file.read(limits.max_bytes + 1)
    except FileNotFoundError:
        return Fault(Status.IMAGE_MISSING, f"there is no file {path}"[:300])
    except PairsiftError as error:
        return Fault(Status.IMAGE_MISSING, str(error))
    except Exception as error:  # file systems fail in many ways, and only this row may fail
        return Fault(Status.READ_ERROR, f"{path}: {type(error).__name__}: {error}"[:300])
    return data


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels of type {pixels.dtype}; uint8 is needed, 0 to 255")
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] not in (3, 4)):
        raise ValueError(
            f"pixels of shape {pixels.shape}; (height, width) or (height, width, 3) is needed"
        )
    if not pixels.size:
        raise ValueError(f"pixels of shape {pixels.shape}, which is empty")
    return Image.fromarray(pixels)


def _encode(image: Image.Image, limits: ImageLimits) -> bytes:
    if image.mode == "I":
        image = image.convert("I;16")
    elif image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    # BMP is fast to write, but large images would exceed the limit of bytes.
    small = image.mode == "RGB" and 4 * image.width * image.height < limits.max_bytes
    file = io.BytesIO()
    if small:
        image.save(file, "BMP")
    else:
        image.save(file, "PNG", compress_level=1)
    return file.getvalue()
