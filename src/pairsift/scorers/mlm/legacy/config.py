"""Read config.json of a legacy LLaVA checkpoint: language model, tower and projector.

The published MLM-Filter and UniFilter checkpoints were saved by forks of the LLaVA package. Their
config.json is that of the language model, with added keys of the multimodal part (``mm_*``).
Today's transformers nests two configs instead and does not know these keys. Both use the model type
``llava``, so the keys decide which layout it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsift.errors import PairsiftError

LANGUAGE_MODELS = {
    "llava": "llama",
    "llava_llama": "llama",
    "llava_qwen": "qwen2",
    "llava_qwen3": "qwen3",
}
"""Model types in a legacy config.json, and transformers' types of their language models."""

MAX_LENGTH = 2048
"""Context length in tokens, image included, if config.json has no
``tokenizer_model_max_length``.
"""


@dataclass(frozen=True)
class LegacyConfig:
    """The multimodal part of a legacy config.json, checked.

    Attributes:
        folder: the checkpoint's folder.
        model_type: as in the file, a key of :data:`LANGUAGE_MODELS`.
        language: the file's keys for the language model's own config.
        vision_tower: hub name or path of the tower, as trained.
        vision_size: width of the tower's features.
        select_layer: index into the tower's hidden states, 0 being its embeddings.
        keeps_class_token: whether the tower's class token is an image token too.
        projector: `mlp2x_gelu`, `aapool_mlp`, ...
        image_tokens: tokens per image of an `aapool_mlp` projector.
        pads_to_square: whether images were padded to a square in the mean colour in training.
        max_length: context length in tokens, image included.
    """

    folder: Path
    model_type: str
    language: dict[str, Any]
    vision_tower: str
    vision_size: int
    select_layer: int
    keeps_class_token: bool
    projector: str
    image_tokens: int
    pads_to_square: bool
    max_length: int

    @property
    def language_type(self) -> str:
        """Model type of the language model in transformers."""
        return LANGUAGE_MODELS[self.model_type]

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.language["hidden_size"])


def is_legacy(folder: Path) -> bool:
    """Return whether a folder holds a legacy LLaVA checkpoint, by the keys of its config.json."""
    try:
        raw = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and "mm_vision_tower" in raw and "vision_config" not in raw


def read_config(folder: Path) -> LegacyConfig:
    """Read and check config.json.

    Raises:
        PairsiftError: there is no readable config.json, or its layout is not supported.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PairsiftError(f"{folder} has no config.json; give a checkpoint's folder") from None
    except ValueError as error:
        raise PairsiftError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(raw, dict) or "mm_vision_tower" not in raw:
        raise PairsiftError(f"{path} has no mm_vision_tower: not a legacy LLaVA checkpoint")

    model_type = str(raw.get("model_type"))
    if model_type not in LANGUAGE_MODELS:
        raise PairsiftError(
            f"{path}: model_type {model_type!r} is not supported; "
            f"legacy checkpoints may be {', '.join(LANGUAGE_MODELS)}"
        )
    _refuse(path, raw, "mm_use_im_start_end", wanted=(False, None))
    _refuse(path, raw, "mm_patch_merge_type", wanted=("flat", None))
    _refuse(path, raw, "mm_vision_select_feature", wanted=("patch", "cls_patch", None))
    _refuse(path, raw, "image_aspect_ratio", wanted=("pad", "square", None))
    _refuse(path, raw, "s2", wanted=(False, None))

    language = {key: value for key, value in raw.items() if not _is_multimodal(key)}
    if model_type in ("llava_qwen", "llava_qwen3"):
        language["rope_scaling"] = None  # the default of the classes that trained them
    return LegacyConfig(
        folder=folder,
        model_type=model_type,
        language=language,
        vision_tower=str(raw["mm_vision_tower"]),
        vision_size=int(_key(path, raw, "mm_hidden_size")),
        select_layer=int(_key(path, raw, "mm_vision_select_layer")),
        keeps_class_token=raw.get("mm_vision_select_feature") == "cls_patch",
        projector=str(raw.get("mm_projector_type") or "linear"),
        image_tokens=int(raw.get("mm_num_image_tokens") or 256),
        pads_to_square=raw.get("image_aspect_ratio") == "pad",
        max_length=int(raw.get("tokenizer_model_max_length") or MAX_LENGTH),
    )


def _key(path: Path, raw: dict[str, Any], key: str) -> Any:
    if raw.get(key) is None:
        raise PairsiftError(f"{path} has no {key}, which every legacy LLaVA checkpoint has")
    return raw[key]


def _refuse(path: Path, raw: dict[str, Any], key: str, wanted: tuple[Any, ...]) -> None:
    if raw.get(key) not in wanted:
        known = " or ".join(json.dumps(value) for value in wanted if value is not None)
        raise PairsiftError(f"{path}: {key} is {raw[key]!r}; only {known} is supported")


def _is_multimodal(key: str) -> bool:
    return key.startswith(
        ("mm_", "image_", "tokenizer_", "tune_mm", "freeze_mm", "unfreeze_mm")
    ) or (key in ("model_type", "architectures", "use_mm_proj", "auto_map", "_name_or_path"))
