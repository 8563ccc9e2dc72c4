"""The vision towers of legacy checkpoints: CLIP and SigLIP (also SigLIP-2 at a fixed size).

A checkpoint's config.json only names its tower. The tower's own config comes from a folder that
the user gives, from the hub's cache, or, for the towers of the published checkpoints, from the
shapes in this file. Its weights come from the checkpoint if it holds them, because they may have
been trained further; otherwise from the same folder as the config.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PretrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from pairsift.errors import PairsiftError
from pairsift.scorers.checkpoints import find_checkpoint
from pairsift.scorers.image_recipe import ImageRecipe
from pairsift.scorers.mlm.legacy.config import LegacyConfig

_CLASSES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel]]] = {
    "clip": (CLIPVisionConfig, CLIPVisionModel),
    "clip_vision_model": (CLIPVisionConfig, CLIPVisionModel),
    "siglip": (SiglipVisionConfig, SiglipVisionModel),
    "siglip_vision_model": (SiglipVisionConfig, SiglipVisionModel),
}

_KNOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "openai/clip-vit-large-patch14-336": (
        {
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
        },
        {
            "size": {"shortest_edge": 336},
            "crop_size": {"height": 336, "width": 336},
            "do_center_crop": True,
            "resample": 3,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    ),
    "google/siglip-so400m-patch14-384": (
        {
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 14,
        },
        {
            "size": {"height": 384, "width": 384},
            "resample": 3,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    ),
}


@dataclass(frozen=True)
class TowerSource:
    """Where a tower's shape, preprocessing and, if needed, weights come from.

    Attributes:
        config: as in the tower's config.json; of a dual encoder, only the vision part.
        recipe: how its images are preprocessed.
        folder: the tower's checkpoint; None for a tower that is only known by name.
    """

    config: dict[str, Any]
    recipe: ImageRecipe
    folder: Path | None


def find_tower(config: LegacyConfig, given: str | None, weights_inside: bool) -> TowerSource:
    """Find the tower that a checkpoint was trained with.

    Args:
        given: folder or hub name that replaces the name in config.json.
        weights_inside: whether the checkpoint holds the tower's weights.

    Raises:
        PairsiftError: it is neither on disk nor on the hub, or of an unknown kind.
    """
    name = given or config.vision_tower
    if given is None and weights_inside and name in _KNOWN and not Path(name).exists():
        shape, images = _KNOWN[name]
        if shape["hidden_size"] == config.vision_size:
            return TowerSource(shape, ImageRecipe.from_dict(images, name), None)
    try:
        folder = find_checkpoint(name, "vision tower")
    except PairsiftError as error:
        if given is not None:
            raise
        raise PairsiftError(
            f"{config.folder} was trained with the vision tower {name}: {error} "
            "(as --vision-tower DIR)"
        ) from None
    return TowerSource(_read_config(folder), ImageRecipe.read(folder), folder)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
        kind = raw["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PairsiftError(f"{path} is not a readable vision tower config: {error!r}") from None
    if kind not in _CLASSES:
        raise PairsiftError(
            f"{path}: model type {kind!r} is not a supported vision tower; "
            "supported are CLIP and SigLIP (SigLIP-2 at a fixed size)"
        )
    if "vision_config" in raw:  # a dual encoder, of which only the vision part is used
        raw = {**raw["vision_config"], "model_type": kind}
    return dict(raw)


class VisionTower(nn.Module):
    """Pixels to patch features: a vision encoder that stops at the layer used in training.

    Args:
        shape: see :class:`TowerSource`.
        config: names the layer, and whether the class token is kept.
    """

    def __init__(self, shape: dict[str, Any], config: LegacyConfig, **options: Any) -> None:
        super().__init__()
        config_class, model_class = _CLASSES[shape["model_type"]]
        keys = {key: value for key, value in shape.items() if key != "model_type"}
        vision = config_class(**keys)
        if vision.hidden_size != config.vision_size:
            raise PairsiftError(
                f"{config.folder} was trained on features of width {config.vision_size} "
                f"(mm_hidden_size), but the vision tower gives {vision.hidden_size}; "
                f"give the tower it names: {config.vision_tower}"
            )
        self.has_class_token = model_class is CLIPVisionModel
        self.drops_class_token = self.has_class_token and not config.keeps_class_token
        layers = int(vision.num_hidden_layers)
        index = config.select_layer
        self.depth = index if index >= 0 else layers + 1 + index
        if not 0 <= self.depth <= layers:
            raise PairsiftError(
                f"{config.folder}: mm_vision_select_layer is {index}, "
                f"but the vision tower has {layers} layers"
            )
        self.model = model_class._from_config(vision, **options)

    @property
    def patches(self) -> int:
        """Number of features per image."""
        side = self.model.config.image_size // self.model.config.patch_size
        return int(side**2) + int(self.has_class_token and not self.drops_class_token)

    @property
    def core(self) -> nn.Module:
        """The encoder itself; transformers before about 5.20 keeps it one level down."""
        core: nn.Module = getattr(self.model, "vision_model", self.model)
        return core

    def parameters_by_name(self) -> dict[str, Tensor]:
        """Tensors to load, named as in checkpoints but without the ``vision_model.`` level."""
        return dict(self.core.state_dict())

    def drop_unused(self) -> None:
        """Free the layers after the selected one; the features are then the model's output.

        The selected hidden state is the residual stream after the layer, without the post layer
        norm, also for SigLIP's last layer.
        """
        core: Any = self.core
        core.encoder.layers = core.encoder.layers[: self.depth]
        core.post_layernorm = nn.Identity()
        if getattr(core, "use_head", False):
            core.use_head = False
            del core.head

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (images, 3, height, width) normalised pixels to (images, patches, width)."""
        features: Tensor = self.model(pixel_values=pixels).last_hidden_state
        return features[:, 1:] if self.drops_class_token else features
