"""Every 8-bit value becomes the float of its channel's table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsift.scorers.image_recipe import ImageRecipe
from pairsift.scorers.normalise import Normaliser

CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CPU = torch.device("cpu")


def every_value(count: int = 2) -> torch.Tensor:
    """Images of 16 x 16 pixels with each 8-bit value in each channel."""
    rng = np.random.default_rng(count)
    values = [rng.permutation(256).astype(np.uint8) for _ in range(3 * count)]
    return torch.from_numpy(np.stack(values).reshape(count, 3, 16, 16)).permute(0, 2, 3, 1)


@pytest.mark.parametrize("scale", [1 / 255, 0.00392156862745098, 1 / 127.5, 1.0, 1 / 3])
@pytest.mark.parametrize(("mean", "std"), [CLIP, HALF])
def test_values_are_those_of_the_table(scale, mean, std) -> None:
    recipe = ImageRecipe(None, (16, 16), None, 3, scale, mean, std)
    pixels = every_value()
    normaliser = Normaliser(recipe, CPU)
    found = normaliser(pixels).numpy()
    for channel in range(3):
        expected = recipe.table[channel][pixels[..., channel].numpy()]
        assert np.array_equal(found[:, channel], expected)
    with normaliser.lent(pixels) as lent:
        assert np.array_equal(lent.numpy(), found)


def test_memory_is_used_again_but_never_by_two_at_once() -> None:
    normaliser = Normaliser(ImageRecipe(None, (16, 16), None, 3, 1 / 255, *CLIP), CPU)
    large, small = every_value(3), every_value(2)
    with normaliser.lent(large) as first:
        address = first.data_ptr()
        with normaliser.lent(small) as second:
            assert second.data_ptr() != address
            assert torch.equal(second, normaliser(small))
        assert torch.equal(first, normaliser(large))
    with normaliser.lent(small) as again:
        assert again.data_ptr() == address
        assert torch.equal(again, normaliser(small))
    with normaliser.lent(every_value(5)) as larger:
        assert torch.equal(larger, normaliser(every_value(5)))
