"""Pixels: resized in worker processes as uint8, normalised on the device."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from pairsift.scorers.transfer import to_device


class Normalise:
    """(pixels * rescale - mean) / std per channel, as in an image processor.

    Args:
        processor: a transformers image processor.
        dim: the channel's dimension in the pixels.
    """

    def __init__(self, processor: Any, dim: int) -> None:
        factor = processor.rescale_factor if processor.do_rescale else 1.0
        mean = torch.tensor(processor.image_mean if processor.do_normalize else [0.0] * 3)
        std = torch.tensor(processor.image_std if processor.do_normalize else [1.0] * 3)
        self.scale, self.shift, self.dim = factor / std, -mean / std, dim

    def __call__(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return normalised pixels of the same shape."""
        shape = [1] * pixels.ndim
        shape[self.dim] = -1
        scale = to_device(self.scale, pixels.device).view(shape)
        shift = to_device(self.shift, pixels.device).view(shape)
        return (pixels.float() * scale + shift).to(dtype)


def describe_processor(processor: Any) -> str:
    """Return an image processor's name and a digest of its settings, for the fingerprint."""
    settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    return f"{type(processor).__name__}:{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
