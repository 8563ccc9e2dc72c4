"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL: images at their own size, with positions in three axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pairsift.scorers.mlm.backbone import Arrays, ImageFeatures, ImageInputs
from pairsift.scorers.mlm.families.base import HubBackbone
from pairsift.scorers.mlm.pixels import Normalise, describe_processor


class QwenVLTransform:
    """PIL image to uint8 patches, (n, 3, patch pixels), grid, marker per merged patch."""

    def __init__(self, processor: Any, marker: int) -> None:
        self.processor = processor
        self.marker = marker

    def __call__(self, image: Any) -> ImageInputs:
        batch = self.processor(image, do_rescale=False, do_normalize=False)
        patches = np.asarray(batch["pixel_values"])
        grid = np.asarray(batch["image_grid_thw"][0])
        # All frames of a patch are equal for a still image, so only one is kept.
        frames = patches.reshape(len(patches), 3, self.processor.temporal_patch_size, -1)
        tokens = int(grid.prod()) // self.processor.merge_size**2
        return ImageInputs(
            {"patches": frames[:, :, 0].astype(np.uint8), "grid": grid},
            np.full(tokens, self.marker),
        )

    def describe(self) -> str:
        return describe_processor(self.processor)


class QwenVLBackbone(HubBackbone):
    """Qwen's vision transformer and decoder with multimodal rotary positions."""

    model_types = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

    def make_transform(self) -> QwenVLTransform:
        self._normalise = Normalise(self.processor, dim=1)
        return QwenVLTransform(self.processor, self.image_marker)

    def stack(self, images: Sequence[Arrays]) -> tuple[torch.Tensor, ...]:
        patches = np.concatenate([image["patches"] for image in images])
        grids = np.stack([image["grid"] for image in images])
        return self.pinned(patches), self.pinned(grids)

    def encode_images(
        self, images: tuple[torch.Tensor, ...], is_image: torch.Tensor
    ) -> ImageFeatures:
        patches, grids = map(self.to_device, images)
        pixels = self._normalise(patches, self.dtype)
        frames = self.processor.temporal_patch_size
        output = self.inner.get_image_features(
            pixel_values=pixels[:, :, None].expand(-1, -1, frames, -1).flatten(1),
            image_grid_thw=grids,
            return_dict=True,
        )
        extra = {}
        if (deep := getattr(output, "deepstack_features", None)) is not None:
            extra = {
                "visual_pos_masks": is_image,
                "deepstack_visual_embeds": [torch.cat(list(layer)) for layer in deep],
            }
        return ImageFeatures(torch.cat(list(output.pooler_output)), extra)

    def positions(
        self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Number text equally in all three axes, and an image by its frames, rows and columns."""
        merge = self.processor.merge_size
        size = max(map(len, prefixes))
        positions = np.zeros((3, len(prefixes), size), dtype=np.int64)
        following = np.zeros(len(prefixes), dtype=np.int64)
        for row, (image, prefix) in enumerate(zip(images, prefixes, strict=True)):
            frames, height, width = image["grid"] // (1, merge, merge)
            start = int(np.argmax(prefix == self.image_marker))
            end = start + frames * height * width
            resume = start + max(height, width)
            positions[:, row, :start] = np.arange(start)
            positions[:, row, start:end] = start + np.indices((frames, height, width)).reshape(
                3, -1
            )
            positions[:, row, end:] = resume + np.arange(size - end)
            following[row] = resume + len(prefix) - end
        return positions, following

    def text_positions(self, positions: torch.Tensor) -> torch.Tensor:
        return positions.expand(3, *positions.shape)
