"""The projectors of legacy checkpoints: from image features to the language model's embeddings.

Module names are those of the checkpoints' tensors below ``model.mm_projector``.
"""

from __future__ import annotations

import math
import re

from torch import Tensor, nn

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.legacy.config import LegacyConfig


def build_projector(config: LegacyConfig) -> nn.Module:
    """Return the projector without weights: (images, patches, vision) to (images, tokens, hidden).

    Raises:
        PairsiftError: the projector type is not supported.
    """
    kind = config.projector
    if kind == "linear":
        return nn.Linear(config.vision_size, config.hidden_size)
    if match := re.fullmatch(r"mlp(\d+)x_gelu", kind):
        return _mlp(int(match[1]), config.vision_size, config.hidden_size)
    if kind == "aapool_mlp":
        return PooledMLP(config.image_tokens, config.vision_size, config.hidden_size)
    raise PairsiftError(
        f"{config.folder}: mm_projector_type {kind!r} is not supported; "
        "supported are mlp2x_gelu (any depth), aapool_mlp and linear"
    )


def _mlp(depth: int, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, outputs)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(outputs, outputs)]
    return nn.Sequential(*layers)


class PooledMLP(nn.Module):
    """`aapool_mlp`: averages the square map of patches to ``tokens`` cells, then a two-layer MLP.

    27 x 27 patches become 144 tokens: cells of 3 x 3 patches, where neighbouring cells share a row
    or column of patches (adaptive average pooling).
    """

    def __init__(self, tokens: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.side = math.isqrt(tokens)
        if self.side**2 != tokens:
            raise PairsiftError(
                f"mm_num_image_tokens is {tokens}; aapool_mlp wants a square number"
            )
        self.pool = nn.AdaptiveAvgPool2d(self.side)
        self.mlp_projector = _mlp(2, inputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (images, patches, inputs) to (images, tokens, outputs)."""
        images, patches, width = features.shape
        side = math.isqrt(patches)
        grid = features.transpose(1, 2).reshape(images, width, side, side)
        projected: Tensor = self.mlp_projector(self.pool(grid).flatten(2).transpose(1, 2))
        return projected
