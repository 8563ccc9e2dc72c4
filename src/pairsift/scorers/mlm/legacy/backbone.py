"""Legacy LLaVA checkpoints for one-pass scoring, and how their published code uses them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairsift.errors import PairsiftError
from pairsift.scorers.checkpoints import checkpoint_digest
from pairsift.scorers.image_recipe import ImageRecipe
from pairsift.scorers.mlm.backbone import Arrays, EmbedsBackbone, ImageFeatures, ImageInputs
from pairsift.scorers.mlm.encode import Quirks
from pairsift.scorers.mlm.legacy.model import LegacyModel, holds_score_head, load_legacy_model
from pairsift.scorers.weights import find_weight_files

IMAGE_TEXT = "<image>"
IMAGE_MARKER = -200
"""Token id that stands for the image; outside every vocabulary."""

_PUBLISHED_LENGTH = 2040
_SENTENCEPIECE_SPACE = "▁"
_LLAMA2_SPACE = 29871


class LegacyImages:
    """Preprocesses images: RGB image to uint8 pixels and markers. Picklable."""

    def __init__(self, recipe: ImageRecipe, tokens: int, pad_to_square: bool) -> None:
        self.recipe = recipe
        self.tokens = tokens
        self.pad_to_square = pad_to_square

    def __call__(self, image: Any) -> ImageInputs:
        """Return pixels (height, width, 3), and one marker per image token."""
        pixels = self.recipe(image, self.pad_to_square)
        return ImageInputs({"pixels": pixels}, np.full(self.tokens, IMAGE_MARKER))

    def describe(self) -> str:
        """Return whether images are padded to a square, and a digest of the rest."""
        return f"{'square' if self.pad_to_square else 'unpadded'}:{self.recipe.digest}"


class LegacyEncode:
    """Prompt text to ids as in LLaVA: the text on each side of `<image>` is tokenized separately.

    Args:
        tokenizer: of the checkpoint.
        bos: id at the beginning of every prompt; None leaves it to the tokenizer.
    """

    def __init__(self, tokenizer: Any, bos: int | None) -> None:
        self.tokenizer = tokenizer
        self.bos = bos
        with_special = tokenizer("a")["input_ids"]
        own = tokenizer.bos_token_id
        self.own_bos = own if own is not None and with_special[:1] == [own] else None

    def __call__(self, text: str) -> list[int]:
        """Return ids, with :data:`IMAGE_MARKER` for each `<image>`."""
        ids: list[int] = []
        for index, part in enumerate(text.split(IMAGE_TEXT)):
            if index:
                ids.append(IMAGE_MARKER)
            ids += self._part(part)
        first = self.bos if self.bos is not None else self.own_bos
        if first is not None and ids[:1] != [first]:
            ids.insert(0, first)
        return ids

    def _part(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        if self.own_bos is not None and ids[:1] == [self.own_bos]:
            return ids[1:]
        return ids


class LegacyBackbone(EmbedsBackbone):
    """A legacy LLaVA checkpoint that answers in words.

    Args:
        model: the checkpoint.
        reference_quirks: preprocess images and begin prompts as the published code does, not as the
            checkpoint was trained.
    """

    def __init__(self, model: LegacyModel, reference_quirks: bool = False) -> None:
        super().__init__(model.decoder, model.head)
        self.model = model
        config = model.config
        self.kind = config.model_type
        self.tokenizer = model.tokenizer
        self.image_token = IMAGE_TEXT
        self.image_marker = IMAGE_MARKER
        self.max_length = min(config.max_length, int(model.decoder.config.max_position_embeddings))
        # Qwen's tokenizer adds no start token, but training used "<s>".
        bos = None if reference_quirks else trained_bos(model)
        self.encode = LegacyEncode(model.tokenizer, bos)
        square = config.pads_to_square and not reference_quirks
        self.images = LegacyImages(model.recipe, model.image_tokens, square)
        self.image_transform = self.images
        self.chat = trained_chat(model)
        self.quirks = published_use(model)

    def stack(self, images: Sequence[Arrays]) -> torch.Tensor:
        return self.pinned(np.stack([image["pixels"] for image in images]))

    def encode_images(self, images: torch.Tensor, is_image: torch.Tensor) -> ImageFeatures:
        pixels = self.to_device(images)
        return ImageFeatures(self.model.encode_images(pixels).flatten(0, 1))


def load_legacy_backbone(
    folder: Path,
    *,
    vision_tower: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    reference_quirks: bool = False,
) -> LegacyBackbone:
    """Load a legacy LLaVA checkpoint that answers in words.

    Raises:
        PairsiftError: it is a classifier, or cannot be loaded:
            :func:`~pairsift.scorers.mlm.legacy.model.load_legacy_model` says when.
    """
    if holds_score_head(folder):
        raise PairsiftError(
            f"{folder} is a classifier: its score head gives no words; load it as the scorer "
            "`classifier`"
        )
    model = load_legacy_model(folder, vision_tower=vision_tower, dtype=dtype, device=device)
    return LegacyBackbone(model, reference_quirks)


def legacy_digest(model: LegacyModel) -> str:
    """Return a digest of everything loaded: the checkpoint, and a tower from outside it."""
    digest = checkpoint_digest(model.config.folder)
    if model.tower_inside or model.tower_folder is None:
        return digest
    tower = checkpoint_digest(model.tower_folder, find_weight_files(model.tower_folder))
    return f"{digest}+{tower}"


def trained_bos(model: LegacyModel) -> int | None:
    """Return the id at the beginning of every training sequence; None if there is none."""
    tokenizer = model.tokenizer
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    found = tokenizer.get_vocab().get("<s>")
    return None if found is None else int(found)


def trained_chat(model: LegacyModel) -> str:
    """Return the chat format with which the published checkpoints of this kind were trained."""
    if model.config.language_type != "llama":
        return "qwen_instruct"
    return "v1" if _is_sentencepiece(model.tokenizer) else "llama_3"


def published_use(model: LegacyModel) -> Quirks:
    """Return how the published inference code uses checkpoints of this kind.

    It chooses the chat format by the model's file name. For the published names this gives
    `llava_v0` for the 13B model, although it was trained with another one, and the trained format
    for the others.
    """
    tokenizer = model.tokenizer
    if _is_sentencepiece(tokenizer):
        if model.config.model_type == "llava":
            return Quirks("llava_v0", (_LLAMA2_SPACE,), _PUBLISHED_LENGTH)
        # " " as the old tokenizer encoded it, including its own leading space.
        double = tokenizer.convert_tokens_to_ids(2 * _SENTENCEPIECE_SPACE)
        return Quirks("llava_v1", (int(double),), _PUBLISHED_LENGTH)
    space = int(tokenizer(" ")["input_ids"][-1])
    whole_numbers = len(tokenizer("50", add_special_tokens=False)["input_ids"]) == 1
    return Quirks(trained_chat(model), (space,), _PUBLISHED_LENGTH, 1 if whole_numbers else 2)


def _is_sentencepiece(tokenizer: Any) -> bool:
    return _SENTENCEPIECE_SPACE in tokenizer.get_vocab()
