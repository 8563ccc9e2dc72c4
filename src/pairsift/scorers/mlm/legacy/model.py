"""Build a legacy LLaVA checkpoint from parts of today's transformers, and load its weights.

Every tensor of the checkpoint must have a place and every place a tensor. Otherwise loading fails
and names them, because a projector with random weights would still give scores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig

from pairsift.errors import PairsiftError
from pairsift.scorers.image_recipe import ImageRecipe
from pairsift.scorers.mlm.legacy.config import LegacyConfig, read_config
from pairsift.scorers.mlm.legacy.projectors import build_projector
from pairsift.scorers.mlm.legacy.towers import TowerSource, VisionTower, find_tower
from pairsift.scorers.normalise import Normaliser
from pairsift.scorers.weights import Weights, fill, uninitialised

_TOWER = "model.vision_tower.vision_tower."
_PROJECTOR = "model.mm_projector."
# The text encoder in a dual encoder's checkpoint.
_TEXT_HALF = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")


@dataclass
class LegacyModel:
    """A loaded checkpoint, in evaluation mode on its device.

    Attributes:
        config: the checkpoint's config.
        tokenizer: the checkpoint's tokenizer.
        recipe: how the tower's images are preprocessed.
        tower, projector: map images to embeddings.
        decoder: maps embeddings to hidden states.
        head: maps hidden states to token logits, or to labels if the checkpoint is a classifier.
        is_classifier: whether the head gives labels.
        tower_folder: folder of the tower's config, if it came from a folder.
    """

    config: LegacyConfig
    tokenizer: Any
    recipe: ImageRecipe
    tower: VisionTower
    projector: nn.Module
    decoder: Any
    head: nn.Linear
    is_classifier: bool
    tower_folder: Path | None
    tower_inside: bool

    def __post_init__(self) -> None:
        self._normaliser = Normaliser(self.recipe, self.head.weight.device)

    @property
    def image_tokens(self) -> int:
        """Number of embeddings per image."""
        pooled = self.config.projector == "aapool_mlp"
        return self.config.image_tokens if pooled else self.tower.patches

    def pixel_values(self, pixels: Tensor) -> Tensor:
        """Normalise (images, height, width, 3) uint8 to float32 (images, 3, height, width)."""
        return self._normaliser(pixels)

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Encode (images, height, width, 3) uint8 as embeddings (images, image_tokens, hidden)."""
        values = self.pixel_values(pixels).to(self.head.weight.dtype)
        embeddings: Tensor = self.projector(self.tower(values))
        return embeddings


def load_legacy_model(
    folder: Path,
    *,
    vision_tower: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> LegacyModel:
    """Load a legacy LLaVA checkpoint.

    Args:
        folder: folder with config.json, weights and tokenizer.
        vision_tower: folder or hub name of the vision tower, instead of the one in config.json.

    Raises:
        PairsiftError: the layout is not supported, the tower is not found, the weights cannot be
            read, or tensors are missing, left over or of another shape; all of them are named.
    """
    config = read_config(folder)
    weights = Weights(folder)
    is_classifier = "score.weight" in weights
    tower_inside = bool(weights.having(_TOWER))
    source = find_tower(config, vision_tower, tower_inside)
    language = _language_config(config, weights)
    tokenizer = _load_tokenizer(folder, language)

    with uninitialised(), torch.device(device):
        decoder = AutoModel.from_config(language, dtype=dtype)
        head = _build_head(weights, is_classifier, decoder, dtype)
        projector = build_projector(config).to(dtype)
        tower = VisionTower(source.config, config, dtype=dtype)

    _fill_all(weights, decoder, head, projector, tower, source, tower_inside)
    tower.drop_unused()
    if not is_classifier:
        _trim_vocabulary(decoder, head, len(tokenizer))
    for part in (decoder, head, projector, tower):
        part.eval().requires_grad_(False)
    return LegacyModel(
        config=config,
        tokenizer=tokenizer,
        recipe=source.recipe,
        tower=tower,
        projector=projector,
        decoder=decoder,
        head=head,
        is_classifier=is_classifier,
        tower_folder=source.folder,
        tower_inside=tower_inside,
    )


def holds_score_head(folder: Path) -> bool:
    """Return whether a checkpoint scores with its own head instead of with words.

    Raises:
        PairsiftError: its weights are not readable.
    """
    return "score.weight" in Weights(folder)


def _language_config(config: LegacyConfig, weights: Weights) -> Any:
    embeddings = weights.shapes.get("model.embed_tokens.weight")
    keys = dict(config.language)
    if embeddings is not None:  # in some checkpoints, resized after config.json was written
        keys["vocab_size"] = embeddings[0]
    if (keys.get("pad_token_id") or 0) >= keys.get("vocab_size", 0):
        keys["pad_token_id"] = None
    return AutoConfig.for_model(config.language_type, **keys)


def _build_head(
    weights: Weights, is_classifier: bool, decoder: Any, dtype: torch.dtype
) -> nn.Linear:
    hidden = decoder.config.hidden_size
    if is_classifier:
        return nn.Linear(hidden, weights.shapes["score.weight"][0], bias=False, dtype=dtype)
    tied = bool(decoder.config.tie_word_embeddings)
    if tied:
        head = nn.Linear(hidden, 1, bias=False, dtype=dtype)
        head.weight, head.out_features = decoder.embed_tokens.weight, decoder.config.vocab_size
        return head
    return nn.Linear(hidden, decoder.config.vocab_size, bias=False, dtype=dtype)


def _fill_all(
    weights: Weights,
    decoder: Any,
    head: nn.Linear,
    projector: nn.Module,
    tower: VisionTower,
    source: TowerSource,
    tower_inside: bool,
) -> None:
    targets = {f"model.{name}": tensor for name, tensor in decoder.state_dict().items()}
    targets |= {_PROJECTOR + name: tensor for name, tensor in projector.state_dict().items()}
    spare: tuple[str, ...] = ()
    if "score.weight" in weights:
        targets["score.weight"] = head.weight
    elif head.weight is decoder.embed_tokens.weight:
        spare = ("lm_head.weight",)  # the embeddings are the head, whether it was saved or not
    else:
        targets["lm_head.weight"] = head.weight
    in_tower = tower.parameters_by_name()
    if tower_inside:
        targets |= {_TOWER + name: tensor for name, tensor in in_tower.items()}

    def inside(name: str) -> str:
        return name.replace(f"{_TOWER}vision_model.", _TOWER, 1)

    fill(weights, targets, inside, spare)
    if tower_inside:
        return
    if source.folder is None:
        raise PairsiftError(
            f"{weights.folder} does not hold the weights of its vision tower; give their folder "
            "(as --vision-tower DIR)"
        )
    outside = Weights(source.folder)
    fill(outside, in_tower, lambda name: name.removeprefix("vision_model."), _TEXT_HALF)


def _trim_vocabulary(decoder: Any, head: nn.Linear, size: int) -> None:
    """Drop embeddings and outputs that belong to no token, as the code behind the published scores
    did.

    Qwen's embeddings are padded to a round number; their outputs would otherwise count in the
    softmax.
    """
    embeddings = decoder.embed_tokens
    if size >= embeddings.num_embeddings:
        return
    tied = head.weight is embeddings.weight
    embeddings.weight = nn.Parameter(embeddings.weight[:size], requires_grad=False)
    embeddings.num_embeddings = head.out_features = size
    if embeddings.padding_idx is not None and embeddings.padding_idx >= size:
        embeddings.padding_idx = None
    head.weight = (
        embeddings.weight if tied else nn.Parameter(head.weight[:size], requires_grad=False)
    )


def _load_tokenizer(folder: Path, language: Any) -> Any:
    # The class that the checkpoint names. transformers would choose by model type, but `llava` is
    # another model today.
    config = PretrainedConfig() if _names_tokenizer_class(folder) else language
    try:
        return AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False)
    except ImportError as error:
        raise PairsiftError(f"{folder}: its tokenizer needs a package: {error}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise PairsiftError(f"{folder} has no readable tokenizer: {reason}") from None


def _names_tokenizer_class(folder: Path) -> bool:
    try:
        raw = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and isinstance(raw.get("tokenizer_class"), str)
