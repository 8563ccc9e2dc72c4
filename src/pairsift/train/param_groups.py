"""Which parameters belong to the vision tower, the projector and the language model.

This is decided by module names, which differ between families of architectures. An unknown name is
an error, because otherwise it would be trained, or not trained, by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pairsift.errors import PairsiftError
from pairsift.train.settings import STAGE_PARTS

#: the first match wins, because Qwen's projector is inside its vision model
_NAMES = {
    "projector": {
        "multi_modal_projector",  # LLaVA
        "connector",  # Idefics3, SmolVLM
        "merger",  # Qwen-VL
        "deepstack_merger_list",  # Qwen3-VL
    },
    "language": {"language_model", "text_model", "lm_head"},
    "vision": {"vision_tower", "vision_model", "visual"},
}
_HEAD = "lm_head"


def part_of(name: str) -> str:
    """Return ``projector``, ``language`` or ``vision`` for a parameter's or module's full name.

    Raises:
        PairsiftError: the name is unknown.
    """
    found = set(name.split("."))
    for part, names in _NAMES.items():
        if found & names:
            return part
    raise PairsiftError(
        f"cannot tell whether {name} is vision tower, projector or language model; "
        "training does not support this architecture"
    )


def projector_modules(model: nn.Module) -> list[str]:
    """Return the names of the projector's modules; of a list, its members."""
    found: list[str] = []
    for name, module in model.named_modules():
        is_inside = any(name.startswith(f"{outer}.") for outer in found)
        parts = name.split(".")
        is_projector = bool(set(parts) & _NAMES["projector"])
        if is_projector and not is_inside and not isinstance(module, nn.ModuleList):
            found.append(name)
    if not found:
        raise PairsiftError("training does not know the name of this architecture's projector")
    return found


def lora_targets(model: nn.Module, stages: Sequence[str]) -> list[str]:
    """Return the names of the linear layers that get low-rank updates in any of the stages."""
    parts = {part for stage in stages for part in STAGE_PARTS[stage]} - {"projector"}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _HEAD not in name.split(".") and part_of(name) in parts
    ]


def choose_trainable(model: nn.Module, stage: str, is_lora: bool) -> dict[str, int]:
    """Make the parameters of a stage trainable, and no others.

    Args:
        is_lora: train only what low-rank adaptation added (its matrices, and a copy of the
            projector).

    Returns:
        how many numbers are trained, by part.

    Raises:
        PairsiftError: no parameter would be trained.
    """
    counts = dict.fromkeys(STAGE_PARTS[stage], 0)
    for name, parameter in model.named_parameters():
        part = part_of(name)
        added = ".lora_" in name or ".modules_to_save." in name
        trained = part in counts and (added or not is_lora)
        parameter.requires_grad_(trained)
        if trained:
            counts[part] += parameter.numel()
    if not any(counts.values()):
        raise PairsiftError(f"stage {stage} would train nothing in this model")
    return counts


def count_parameters(model: Any) -> int:
    """Count a model's parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
