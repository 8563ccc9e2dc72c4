"""Preprocess images for CLIP and SigLIP towers: resize, crop, normalise.

The pixels equal those of transformers' image processors, but worker processes need not import
torch. Workers return 8-bit pixels, a quarter of the bytes of float32; the device converts them to
floats with a table of 3 x 256 values.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairsift.errors import PairsiftError

PILLOW, TORCH = "pillow", "torch"
RESIZERS = (PILLOW, TORCH)
_BICUBIC = 3
_TORCH_MODES = {2: "bilinear", 3: "bicubic"}
_MAX_RATIO = 64
_MAX_SQUARE = 8192
# The farthest that any filter of Pillow reads, in pixels of the smaller of both images, and some.
_REACH = 6


@dataclass(frozen=True)
class ImageRecipe:
    """How an RGB image is preprocessed for a vision tower.

    Attributes:
        shortest_edge: pixels of the shorter side after resizing, aspect ratio kept; None if `size`.
        size: (width, height) after resizing, aspect ratio not kept; None if neither is given.
        crop: (width, height) cut out of the centre, padded with black if the image is smaller; or
            None.
        resample: a value of :class:`PIL.Image.Resampling`.
        scale: factor of the 8-bit values.
        mean, std: per channel, of the scaled values.
        resize: a name of `RESIZERS`, see :meth:`resized_by`.
    """

    shortest_edge: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    # Not in the digest of the recipes that were recorded before there was a choice.
    resize: str = field(default=PILLOW, repr=False)

    def resized_by(self, name: str) -> ImageRecipe:
        """Return the recipe with another program that resizes.

        Args:
            name: ``pillow``, which resized the images that CLIP was trained on; or ``torch``, whose
                kernel torchvision uses too. It is about four times as fast. A few of a thousand
                8-bit values differ by one, by two where pixels are noise. Processes that decode
                import torch.

        Raises:
            PairsiftError: the name is another one, or torch has no such filter.
        """
        if name not in RESIZERS:
            raise PairsiftError(f"resize is {name!r}; it is one of {', '.join(RESIZERS)}")
        if name == TORCH and self.resample not in _TORCH_MODES:
            filter_name = Image.Resampling(self.resample).name.lower()
            raise PairsiftError(
                f"resize=torch has no {filter_name} filter, which this checkpoint's images need; "
                "use resize=pillow"
            )
        return replace(self, resize=name)

    @classmethod
    def read(cls, folder: Path) -> ImageRecipe:
        """Read preprocessor_config.json, or the image part of processor_config.json.

        Raises:
            PairsiftError: neither file exists, or it has an unsupported setting.
        """
        for name in ("preprocessor_config.json", "processor_config.json"):
            path = folder / name
            if not path.is_file():
                continue
            try:
                raw = json.loads(path.read_text("utf-8"))
            except ValueError as error:
                raise PairsiftError(f"{path} is not readable JSON: {error}") from None
            if name == "processor_config.json":
                raw = raw.get("image_processor")
            if isinstance(raw, dict):
                return cls.from_dict(raw, str(path))
        raise PairsiftError(
            f"{folder} has no preprocessor_config.json, which says how images are preprocessed"
        )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> ImageRecipe:
        """Read the keys of a transformers image processor; ``where`` is for error messages."""
        shortest_edge, size = None, None
        if raw.get("do_resize", True):
            shortest_edge, size = _target(raw.get("size"), where)
        crop = None
        if raw.get("do_center_crop", False):
            _, crop = _target(raw.get("crop_size"), where, square=True)
        if size is None and crop is None:
            raise PairsiftError(
                f"{where}: images would not all get the same size; this is not supported"
            )
        mean: tuple[float, ...] = (0.0, 0.0, 0.0)
        std: tuple[float, ...] = (1.0, 1.0, 1.0)
        if raw.get("do_normalize", True):
            mean, std = _three(raw, "image_mean", where), _three(raw, "image_std", where)
        scale = float(raw.get("rescale_factor", 1 / 255)) if raw.get("do_rescale", True) else 1.0
        resample = int(raw.get("resample", _BICUBIC))
        return cls(shortest_edge, size, crop, resample, scale, mean, std)

    @property
    def output_size(self) -> tuple[int, int]:
        """(width, height) of the result."""
        size = self.crop or self.size
        assert size is not None
        return size

    @property
    def table(self) -> np.ndarray:
        """float32 (3, 256): the normalised value of each 8-bit value of each channel."""
        # This order and these types give exactly the same floats as transformers.
        scaled = (np.arange(256, dtype=np.float64) * self.scale).astype(np.float32)
        mean = np.array(self.mean, dtype=np.float32)[:, None]
        std = np.array(self.std, dtype=np.float32)[:, None]
        return np.asarray((scaled[None] - mean) / std, dtype=np.float32)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the recipe."""
        told = repr(self) + ("" if self.resize == PILLOW else self.resize)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The mean as an RGB colour, with which images were padded in training."""
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue

    def __call__(self, image: Image.Image, pad_to_square: bool = False) -> np.ndarray:
        """Preprocess one RGB image.

        Args:
            pad_to_square: whether to centre it on a square of the mean colour first.

        Returns:
            uint8, shape (height, width, 3).
        """
        if pad_to_square:
            image = _on_square(image, self.mean_colour)
        if self.shortest_edge is not None:
            image = _cut_banner(image)
            width, height = image.size
            short, long = sorted((width, height))
            longer = int(self.shortest_edge * long / short)
            target = (self.shortest_edge, longer)
            if width > height:
                target = target[::-1]
            image = self._resized(image, target)
        elif self.size is not None:
            image = self._resized(image, self.size)
        if self.crop is not None:
            image = _crop_centre(image, self.crop)
        return np.asarray(image, dtype=np.uint8)

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        if self.resize == TORCH:
            return _resize_by_torch(image, size, self.resample)
        return _resize(image, size, self.resample, self.crop)


def _target(
    value: Any, where: str, square: bool = False
) -> tuple[int | None, tuple[int, int] | None]:
    """Return a processor's `size` as (shortest edge, None) or (None, (width, height))."""
    if isinstance(value, int):
        return (None, (value, value)) if square else (value, None)
    if isinstance(value, Mapping):
        if set(value) == {"shortest_edge"}:
            return int(value["shortest_edge"]), None
        if {"height", "width"} <= set(value):
            return None, (int(value["width"]), int(value["height"]))
    raise PairsiftError(
        f"{where}: cannot read the image size {value!r}; expected a shortest_edge, "
        "or a height and a width"
    )


def _three(raw: Mapping[str, Any], key: str, where: str) -> tuple[float, ...]:
    value = raw.get(key)
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise PairsiftError(f"{where}: {key} is {value!r}; three numbers are expected")
    return tuple(float(channel) for channel in value)


def _cut_banner(image: Image.Image) -> Image.Image:
    """Keep the middle of an image that is more than 64 times as long as wide.

    Resizing the whole of it by its shorter side would fill the memory, and the crop that follows
    uses only the middle.
    """
    width, height = image.size
    limit = _MAX_RATIO * min(width, height)
    if max(width, height) <= limit:
        return image
    return _crop_centre(image, (min(width, limit), min(height, limit)))


def _on_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    if side > _MAX_SQUARE:  # otherwise a 100,000 x 10 image would take 30 GB
        size = [max(1, round(edge * _MAX_SQUARE / side)) for edge in image.size]
        return _on_square(_resize(image, (size[0], size[1]), _BICUBIC), colour)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def _resize(
    image: Image.Image, size: tuple[int, int], resample: int, crop: tuple[int, int] | None = None
) -> Image.Image:
    """Resize, without what a crop of the centre cuts off.

    Width first, then height. Pillow 13 changed the order, but the filters were trained before.
    """
    method = Image.Resampling(resample)
    width, height = image.size
    left, right = _kept(size[0], crop and crop[0])
    top, bottom = _kept(size[1], crop and crop[1])
    # Each pass reads rows, or columns, one by one, so those that nothing needs may be left out.
    reach = _REACH * max(1, height / size[1])
    above = max(0, int(top * height / size[1] - reach))
    below = min(height, math.ceil(bottom * height / size[1] + reach))
    image = _cut(image, (0, above, width, below)).resize((size[0], below - above), method)
    image = _cut(image, (left, 0, right, below - above))
    if image.height < height:  # the height's pass needs every row at its place
        page = Image.new(image.mode, (image.width, height))
        page.paste(image, (0, above))
        image = page
    return _cut(image.resize((image.width, size[1]), method), (0, top, image.width, bottom))


def _resize_by_torch(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    import torch  # only for those who ask for it
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    mode = _TORCH_MODES[resample]
    resized = interpolate(pixels, size=size[::-1], mode=mode, antialias=True)
    return Image.fromarray(resized[0].permute(1, 2, 0).numpy())


def _kept(length: int, crop: int | None) -> tuple[int, int]:
    """Where a crop of the centre begins and ends."""
    if crop is None or crop >= length:
        return 0, length
    start = (length - crop) // 2
    return start, start + crop


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    return image if box == (0, 0, *image.size) else image.crop(box)


def _crop_centre(image: Image.Image, crop: tuple[int, int]) -> Image.Image:
    left, top = (image.width - crop[0]) // 2, (image.height - crop[1]) // 2
    return image.crop((left, top, left + crop[0], top + crop[1]))
