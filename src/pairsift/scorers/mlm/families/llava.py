"""LLaVA in transformers: one image, one square of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pairsift.scorers.mlm.backbone import Arrays, ImageFeatures, ImageInputs
from pairsift.scorers.mlm.families.base import HubBackbone
from pairsift.scorers.mlm.pixels import Normalise, describe_processor


class LlavaTransform:
    """PIL image to uint8 pixels, (3, H, W), and one marker per patch."""

    def __init__(self, processor: Any, marker: int, patch_size: int, additional: int) -> None:
        self.processor = processor
        self.marker = marker
        self.patch_size = patch_size
        self.additional = additional

    def __call__(self, image: Any) -> ImageInputs:
        batch = self.processor(image, do_rescale=False, do_normalize=False)
        pixels = np.asarray(batch["pixel_values"][0]).astype(np.uint8)
        _, height, width = pixels.shape
        tokens = (height // self.patch_size) * (width // self.patch_size) + self.additional
        return ImageInputs({"pixels": pixels}, np.full(tokens, self.marker))

    def describe(self) -> str:
        return describe_processor(self.processor)


class LlavaBackbone(HubBackbone):
    """CLIP or SigLIP tower, two-layer projector, any decoder."""

    model_types = ("llava",)

    def make_transform(self) -> LlavaTransform:
        config = self.config
        has_class_token = "clip" in config.vision_config.model_type and (
            "siglip" not in config.vision_config.model_type
        )
        # The class token counts as an image token unless the selection drops it.
        keeps_all = config.vision_feature_select_strategy == "full"
        self._normalise = Normalise(self.processor, dim=1)
        return LlavaTransform(
            self.processor,
            self.image_marker,
            config.vision_config.patch_size,
            additional=int(has_class_token and keeps_all)
            - int(not has_class_token and not keeps_all),
        )

    def stack(self, images: Sequence[Arrays]) -> torch.Tensor:
        return self.pinned(np.stack([image["pixels"] for image in images]))

    def encode_images(self, images: torch.Tensor, is_image: torch.Tensor) -> ImageFeatures:
        pixels = self.to_device(images)
        features = self.inner.get_image_features(
            pixel_values=self._normalise(pixels, self.dtype),
            vision_feature_layer=self.config.vision_feature_layer,
            vision_feature_select_strategy=self.config.vision_feature_select_strategy,
            return_dict=True,
        ).pooler_output
        return ImageFeatures(torch.cat(list(features)))
