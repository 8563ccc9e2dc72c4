"""Turn 8-bit pixels into the floats that a vision tower takes, on its device."""

from __future__ import annotations

import torch
from torch import Tensor


def normalised(pixels: Tensor, table: Tensor) -> Tensor:
    """Look up every 8-bit value in the table of its channel.

    Args:
        pixels: uint8 (images, height, width, 3).
        table: float32 (3, 256), :attr:`~pairsift.scorers.image_recipe.ImageRecipe.table`.

    Returns:
        float32 (images, 3, height, width).
    """
    if pixels.device.type != "cpu":
        channels = zip(table, pixels.unbind(-1), strict=True)
        return torch.stack([values.take(channel.long()) for values, channel in channels], dim=1)
    # One channel of one image stays in the cache: many times as fast as one lookup for all.
    count, height, width, _ = pixels.shape
    found = torch.empty(count, 3, height, width)
    for image, planes in zip(pixels, found, strict=True):
        for values, channel, plane in zip(table, image.unbind(-1), planes, strict=True):
            torch.take(values, channel.long(), out=plane)
    return found
