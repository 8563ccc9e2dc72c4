"""Pixels for `pairsift-tiny`: NumPy and Pillow only, for decode workers that never import torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

TRAINING_SIDE = 224
"""Side in pixels of the training photographs, which come already squashed to a square."""

INPUT_SIDE = 260
"""Side in pixels of the encoder's input where a checkpoint does not say otherwise."""


def preprocess(image: Image.Image, side: int = INPUT_SIDE) -> npt.NDArray[np.uint8]:
    """One image to the encoder's input, uint8 RGB of shape (side, side, 3).

    The whole image is squashed to a square, whatever its aspect ratio: the training photographs
    came that way, so padding or cropping would show the model what it never saw. It passes
    through 224 pixels first, since the encoder was trained on photographs enlarged from there and
    a sharper input would again be new to it.
    """
    small = image.convert("RGB").resize(
        (TRAINING_SIDE, TRAINING_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0
    )
    if side != TRAINING_SIDE:
        small = small.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small, dtype=np.uint8)
