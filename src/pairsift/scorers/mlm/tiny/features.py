"""The frozen image encoder's features: a grid of cells, a pooled vector, and its maps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pairsift.scorers.mlm.lite import Lite2, normalize
from pairsift.scorers.mlm.tiny.config import GRID_SIDE

CPU_STEP = 4
"""Images in the encoder at a time on a CPU; the feature maps of more do not fit into its cache."""


class Seen(NamedTuple):
    """The frozen encoder's features of B images.

    Attributes:
        grid: (B, 36, `GRID_WIDTH`), cells row by row.
        pooled: (B, `POOLED_WIDTH`), the last map, pooled.
        maps: the maps by stride, 8: (B, 48, h, w) and 16: (B, 120, h, w).
    """

    grid: Tensor
    pooled: Tensor
    maps: dict[int, Tensor]


def pool(final: Tensor) -> Tensor:
    """Return mean and maximum over a map (B, C, h, w), as (B, 2 C)."""
    flat = final.flatten(2).float()
    return torch.cat([flat.mean(-1), flat.amax(-1)], dim=-1)


def image_features(encoder: Lite2, pixels: Tensor) -> Seen:
    """Run the frozen encoder over uint8 pixels (B, S, S, 3)."""
    x = normalize(pixels)
    early, middle, final = encoder(x)
    side = (GRID_SIDE, GRID_SIDE)
    mean = F.adaptive_avg_pool2d(x, side)
    contrast = (F.adaptive_avg_pool2d(x * x, side) - mean * mean).clamp_min(0).sqrt()
    maps = [F.adaptive_avg_pool2d(stage.float(), side) for stage in (early, middle, final)]
    grid = torch.cat([mean, contrast, *maps], dim=1).flatten(2).transpose(1, 2).contiguous()
    return Seen(grid, pool(final), {8: early, 16: middle})


def few(pixels: Tensor) -> tuple[Tensor, ...]:
    """Split pixels (B, S, S, 3) into parts of as many images as the encoder reads at a time."""
    return torch.split(pixels, CPU_STEP if pixels.device.type == "cpu" else len(pixels))
