"""The model in training: loaded as the scorer loads it, saved so that the scorer can load it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from pairsift.errors import PairsiftError
from pairsift.scorers.checkpoints import find_checkpoint
from pairsift.scorers.mlm.backbone import EmbedsBackbone
from pairsift.scorers.mlm.hub import load_hub_backbone, quiet
from pairsift.scorers.mlm.legacy.config import is_legacy
from pairsift.scorers.mlm.load import ADAPTER_CONFIG, is_adapter, read_config
from pairsift.scorers.mlm.prompt_files import PACK_FILE, dump_pack
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.train.param_groups import lora_targets, projector_modules
from pairsift.train.settings import Lora

# Not copied with the tokenizer, image processor and chat template beside the weights.
_BESIDE = ("*.json", "*.model", "*.txt", "*.jinja")
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_OWN = ("config.json", "generation_config.json", ADAPTER_CONFIG)


@dataclass(frozen=True, slots=True)
class Base:
    """The checkpoint to start from.

    Attributes:
        name: as the user gave it.
        folder: the folder of the checkpoint.
    """

    name: str
    folder: Path

    @property
    def reference(self) -> str:
        """Return the base's name in an adapter's config, independent of the current folder."""
        return str(self.folder.resolve()) if Path(self.name).expanduser().is_dir() else self.name


def find_base(name: str) -> Base:
    """Find the checkpoint to train.

    Raises:
        PairsiftError: there is none, or it is of a kind that cannot be trained.
    """
    folder = find_checkpoint(name)
    if is_adapter(folder):
        raise PairsiftError(
            f"{name} is a LoRA adapter; training starts from a whole model: merge it first, or "
            "start from its base model"
        )
    if is_legacy(folder):
        raise PairsiftError(
            f"{name} is in the legacy LLaVA layout, which Pairsift scores but does not train; "
            "start from a checkpoint in the layout of transformers (such as llava-hf/...)"
        )
    return Base(name, folder)


class Student:
    """A model in training.

    Args:
        base: the checkpoint that training starts from.
        start: checkpoint of this run to resume from; None to start from the base.
        lora: None for full fine-tuning.
        stages: names of all stages; they decide which layers get low-rank updates.
        dtype: dtype of the weights; with LoRA, of the weights that are not trained.

    Attributes:
        backbone: the model as the scorer uses it.
        model: the model that is trained and saved.
    """

    def __init__(
        self,
        base: Base,
        start: Path | None,
        lora: Lora | None,
        stages: Sequence[str],
        *,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
    ) -> None:
        self.base = base
        self.is_lora = lora is not None
        folder = base.folder if lora is not None or start is None else start
        backbone = load_hub_backbone(
            folder, read_config(folder), adapter=None, dtype=dtype, device=device
        )
        if not isinstance(backbone, EmbedsBackbone):
            raise PairsiftError(f"{base.name}: this kind of model cannot be trained")
        self.backbone: EmbedsBackbone = backbone
        self.model: Any = getattr(backbone, "model")  # noqa: B009 - every family has one
        if lora is not None:
            self.model = self._adapt(lora, stages, start, seed)

    def _adapt(self, lora: Lora, stages: Sequence[str], start: Path | None, seed: int) -> nn.Module:
        try:
            from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
        except ImportError:
            raise PairsiftError("--lora needs peft: pip install 'pairsift[train]'") from None
        torch.manual_seed(seed)
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora_targets(self.model, stages),
            modules_to_save=projector_modules(self.model),
        )
        with warnings.catch_warnings():
            # peft calls a function that transformers is going to rename.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(self.model, config)
        adapted.peft_config["default"].base_model_name_or_path = self.base.reference
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name or ".modules_to_save." in name:
                parameter.data = parameter.data.float()  # small steps are lost in bfloat16
        if start is not None:
            set_peft_model_state_dict(adapted, load_file(start / _ADAPTER_WEIGHTS))
        result: nn.Module = adapted
        return result

    def save_activations_only_at_layers(self) -> None:
        """Recompute the activations inside each layer in the backward pass, to save memory."""
        inner = self.model.get_base_model() if self.is_lora else self.model
        enable = getattr(inner, "activation_checkpointing_enable", None)  # since transformers 5.20
        (enable or inner.gradient_checkpointing_enable)()

    def save(self, folder: Path, pack: PromptPack) -> None:
        """Write a checkpoint that a scorer loads: weights, tokenizer, processor and prompts."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            self.model.save_pretrained(folder)
        if self.is_lora:
            (folder / "README.md").unlink(missing_ok=True)  # an empty form
        else:
            copy_beside(self.base.folder, folder)
        (folder / PACK_FILE).write_text(dump_pack(pack), "utf-8")


def copy_beside(source: Path, target: Path) -> None:
    """Copy the files beside the weights of a checkpoint."""
    for file in {file for pattern in _BESIDE for file in source.glob(pattern)}:
        if file.name not in _OWN and not file.name.endswith(".index.json"):
            shutil.copyfile(file, target / file.name)
