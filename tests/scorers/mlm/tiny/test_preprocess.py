"""Images become squares of pixels, without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pairsift.scorers.mlm.tiny.preprocess import INPUT_SIDE, preprocess


@pytest.mark.parametrize(
    ("mode", "size"),
    [("RGB", (640, 200)), ("L", (50, 900)), ("RGBA", (3, 3)), ("CMYK", (224, 224))],
)
def test_images_of_every_shape_and_mode_become_squares(mode: str, size: tuple[int, int]) -> None:
    for side in (INPUT_SIDE, 224):
        pixels = preprocess(Image.new(mode, size), side)
        assert pixels.shape == (side, side, 3)
        assert pixels.dtype == np.uint8


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys, pairsift.scorers.mlm.tiny.inputs; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
