"""Pixels for `pairsift-tiny`, with NumPy and Pillow only, because decode workers never import
torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

TRAINING_SIDE = 224
"""Side in pixels of the training photographs, which were already resized to a square."""

INPUT_SIDE = 260
"""Side in pixels of the encoder's input if the checkpoint does not name one."""


def preprocess(image: Image.Image, side: int = INPUT_SIDE) -> npt.NDArray[np.uint8]:
    """Convert one image to the encoder's input, uint8 RGB of shape (side, side, 3).

    The whole image is resized to a square, whatever its aspect ratio, because the training
    photographs were; padding or cropping would give inputs unlike those in training. It is resized
    to 224 pixels first, because the encoder was trained on photographs enlarged from that size, and
    sharper input would also be unlike those in training.
    """
    small = image.convert("RGB").resize(
        (TRAINING_SIDE, TRAINING_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0
    )
    if side != TRAINING_SIDE:
        small = small.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small, dtype=np.uint8)
