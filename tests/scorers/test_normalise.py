"""Every 8-bit value becomes the float of its channel's table."""

from __future__ import annotations

import numpy as np
import torch

from pairsift.scorers.normalise import normalised


def test_values_are_those_of_the_table() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    table = rng.normal(size=(3, 256)).astype(np.float32)
    found = normalised(torch.from_numpy(pixels), torch.from_numpy(table)).numpy()
    for channel in range(3):
        assert np.array_equal(found[:, channel], table[channel][pixels[..., channel]])
