"""Image towers in front of a plain decoder: features in place of the image's tokens.

The image comes from the checkpoint's own processor, its features from the model's own
`get_image_features`; prefix, suffixes and answers are then read under masks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.backbone import Arrays, EmbedsBackbone, ImageFeatures, text_limit
from pairsift.scorers.mlm.families.processor import (
    CLOSING_IDS,
    IMAGE_IDS,
    ProcessorEncode,
    ProcessorTransform,
    to_tensors,
)
from pairsift.scorers.mlm.packing import NO_TREE, Layout, answers_alone, collate
from pairsift.scorers.mlm.trie import Tree

#: Types whose features stand where the image's tokens stand, and nowhere else.
MODEL_TYPES = (
    "deepseek_vl", "fast_vlm", "gemma3", "got_ocr2", "internvl",
    "janus", "lighton_ocr", "llava_next", "llava_onevision", "mistral3", "perception_lm",
    "paligemma", "vipllava",
)  # fmt: skip


class FeaturesBackbone(EmbedsBackbone):
    """A model of one of :data:`MODEL_TYPES`.

    Args:
        model: the model, on its device, in evaluation mode.
        processor: the checkpoint's processor.
        tokenizer: its tokenizer.
        encode: what stands for the image in its prompts.
    """

    def __init__(self, model: Any, processor: Any, tokenizer: Any, encode: ProcessorEncode) -> None:
        self.parts = (model, processor, tokenizer, encode)
        inner = getattr(model, "model", model)
        super().__init__(inner.language_model, model.get_output_embeddings())
        self.model: nn.Module = model
        self.inner = inner
        self.config = model.config
        self.kind = self.config.model_type
        self.tokenizer = tokenizer
        self.encode = encode
        self.image_token = encode.image_token
        self.image_marker = encode.marker
        self.feature_marker = int(self.config.image_token_id)
        self.image_transform = ProcessorTransform(processor, encode)
        self.text = self.config.get_text_config(decoder=True)
        self.max_length = text_limit(self.text, tokenizer)
        self._takes = inspect.signature(inner.get_image_features).parameters

    def encode_images(self, images: Sequence[Arrays], is_image: torch.Tensor) -> ImageFeatures:
        counts = [int((image[IMAGE_IDS] == self.feature_marker).sum()) for image in images]
        found: list[torch.Tensor | None] = [None] * len(images)
        for places in _alike(images).values():
            arguments = {
                name: to_tensors(
                    np.concatenate([images[place][name] for place in places]),
                    self.device,
                    self.dtype,
                )
                for name in images[places[0]]
                if name in self._takes
            }
            output = self.inner.get_image_features(**arguments, return_dict=True).pooler_output
            parts = output if isinstance(output, (list, tuple)) else [output]
            tokens = torch.cat([part.flatten(0, -2) for part in parts])
            sizes = [counts[place] for place in places]
            if sum(sizes) != len(tokens):
                raise PairsiftError(f"{len(tokens)} image features for {sum(sizes)} image tokens")
            for place, part in zip(places, torch.split(tokens, sizes), strict=True):
                found[place] = part
        return ImageFeatures(torch.cat([part for part in found if part is not None]))

    def seen_together(
        self, marked: np.ndarray, prefixes: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        return marked if self.kind == "gemma3" else None


class PaliGemmaBackbone(FeaturesBackbone):
    """PaliGemma reads a prompt in both directions: once for each metric, the answers behind it."""

    def seen_together(
        self, marked: np.ndarray, prefixes: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        lengths = np.array([len(prefix) for prefix in prefixes])
        return np.asarray(np.arange(marked.shape[1]) < lengths[:, None])

    def positions(
        self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions begin with 1."""
        positions, following = super().positions(images, prefixes)
        return positions + 1, following + 1

    def collate(self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray]) -> Any:
        return images, prefixes  # nothing can be read before the prompt is whole

    def prefill(self, collated: Any) -> Any:
        return collated

    def follow(
        self,
        state: Any,
        suffixes: Sequence[Sequence[np.ndarray]],
        trees: Sequence[Tree] | None,
        layout: Layout,
    ) -> Iterator[torch.Tensor]:
        images, prefixes = state
        for index, tree in enumerate(trees or [NO_TREE] * len(suffixes[0])):
            prompts = [
                np.concatenate([prefix, suffix[index], image[CLOSING_IDS]])
                for image, prefix, suffix in zip(images, prefixes, suffixes, strict=True)
            ]
            read = super().prefill(super().collate(images, prompts))
            ends = read.last_hidden[:, None]
            if tree[0]:
                block = collate([answers_alone(tree)] * len(prompts))
                ends = torch.cat([ends, self.extend(read, block)], dim=1)
            yield ends


def _alike(images: Sequence[Arrays]) -> Mapping[Any, list[int]]:
    """Which images may go through the tower together: their arrays differ in nothing but length."""
    groups: dict[Any, list[int]] = {}
    for place, image in enumerate(images):
        shapes = tuple((name, getattr(value, "shape", (0,))[1:]) for name, value in image.items())
        groups.setdefault(shapes, []).append(place)
    return groups
