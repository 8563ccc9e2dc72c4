"""Turn 8-bit pixels into the floats that a vision tower takes, on its device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from pairsift.scorers.image_recipe import ImageRecipe


class Normaliser:
    """Gives every 8-bit value the float of its channel in a recipe's table, to the bit.

    Args:
        recipe: its :attr:`~pairsift.scorers.image_recipe.ImageRecipe.table` is applied.
        device: where the pixels are.
    """

    def __init__(self, recipe: ImageRecipe, device: torch.device) -> None:
        self._table = torch.from_numpy(recipe.table).to(device)
        self._scale = recipe.scale
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32) for values in (recipe.mean, recipe.std)
        )
        self._spare: list[Tensor] = []

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the floats, (images, 3, height, width), of uint8 (images, height, width, 3)."""
        if pixels.device.type == "cpu":
            return self._computed(pixels, torch.empty(pixels.shape))
        channels = zip(self._table, pixels.unbind(-1), strict=True)
        return torch.stack([values.take(channel.long()) for values, channel in channels], dim=1)

    @contextlib.contextmanager
    def lent(self, pixels: Tensor) -> Iterator[Tensor]:
        """Give the floats in memory that the next batch uses again, until the block ends.

        A batch takes tens of MB, which the system would otherwise clear for each one: on a CPU this
        takes longer than to compute the floats.
        """
        if pixels.device.type != "cpu":  # torch keeps the memory of such devices itself
            yield self(pixels)
            return
        try:
            memory = self._spare.pop()  # two threads never get the same
        except IndexError:
            memory = torch.empty(pixels.shape)
        if len(memory) < len(pixels):
            memory = torch.empty(pixels.shape)
        yield self._computed(pixels, memory[: len(pixels)])
        self._spare.append(memory)

    def _computed(self, pixels: Tensor, found: Tensor) -> Tensor:
        # The steps and their types are those of the table: the same floats, several times as fast.
        # One image at a time stays in the cache. Channels last is the order that convolutions on
        # a CPU like best.
        width = pixels.shape[2]
        mean, std = self._mean.repeat(width), self._std.repeat(width)
        scaled = torch.empty(pixels[0].flatten(1).shape, dtype=torch.float64)
        for image, floats in zip(pixels.flatten(2), found.flatten(2), strict=True):
            scaled.copy_(image).mul_(self._scale)
            floats.copy_(scaled).sub_(mean).div_(std)
        return found.permute(0, 3, 1, 2)
