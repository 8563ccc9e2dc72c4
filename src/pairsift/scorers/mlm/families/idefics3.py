"""Idefics3 and SmolVLM: the image as a grid of squares plus a small copy of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pairsift.scorers.mlm.backbone import Arrays, ImageFeatures, ImageInputs
from pairsift.scorers.mlm.families.base import HubBackbone
from pairsift.scorers.mlm.pixels import Normalise, describe_processor


class Idefics3Transform:
    """PIL image to uint8 squares, (n, 3, H, W), and the ids that mark their rows and columns."""

    def __init__(self, processor: Any, tokenizer: Any, image_token: str, tokens: int) -> None:
        self.processor = processor
        self.tokenizer = tokenizer
        self.square = image_token * tokens
        self._ids: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, image: Any) -> ImageInputs:
        batch = self.processor(
            [[image]], do_rescale=False, do_normalize=False, return_row_col_info=True
        )
        pixels = np.asarray(batch["pixel_values"][0]).astype(np.uint8)
        return ImageInputs({"pixels": pixels}, self.ids(batch["rows"][0][0], batch["cols"][0][0]))

    def ids(self, rows: int, columns: int) -> np.ndarray:
        """Return the ids of an image of ``rows`` x ``columns`` squares; 0 for one."""
        if (rows, columns) not in self._ids:
            edge = "<fake_token_around_image>"
            text = ""
            for row in range(1, rows + 1):
                for column in range(1, columns + 1):
                    text += f"{edge}<row_{row}_col_{column}>{self.square}"
                text += "\n"
            text += "\n" if rows else ""
            text += f"{edge}<global-img>{self.square}{edge}"
            ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            self._ids[rows, columns] = np.array(ids)
        return self._ids[rows, columns]

    def describe(self) -> str:
        return describe_processor(self.processor)


class Idefics3Backbone(HubBackbone):
    """SigLIP tower, pixel shuffle, Llama decoder."""

    model_types = ("idefics3", "smolvlm")

    def make_transform(self) -> Idefics3Transform:
        vision = self.config.vision_config
        side = vision.image_size // vision.patch_size
        self._normalise = Normalise(self.processor, dim=1)
        return Idefics3Transform(
            self.processor,
            self.tokenizer,
            self.image_token,
            side * side // self.config.scale_factor**2,
        )

    def stack(self, images: Sequence[Arrays]) -> torch.Tensor:
        return self.pinned(np.concatenate([image["pixels"] for image in images]))

    def encode_images(self, images: torch.Tensor, is_image: torch.Tensor) -> ImageFeatures:
        pixels = self.to_device(images)
        # All squares are passed as images of one sample; none is padding and none is left out.
        features = self.inner.get_image_features(
            pixel_values=self._normalise(pixels, self.dtype)[None], return_dict=True
        ).pooler_output
        if not isinstance(features, torch.Tensor):
            features = torch.cat(list(features))
        return ImageFeatures(features.flatten(0, -2))
