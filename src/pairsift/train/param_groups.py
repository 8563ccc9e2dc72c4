"""Which parameters are the vision tower, the projector and the language model.

Told from the names of modules, which each family of architectures has its own of; a name that is
none of them is an error, since it would be trained, or not, by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pairsift.errors import PairsiftError
from pairsift.train.settings import STAGE_PARTS

#: first match wins: Qwen's projector lies inside its vision model
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
        PairsiftError: it is none of them.
    """
    found = set(name.split("."))
    for part, names in _NAMES.items():
        if found & names:
            return part
    raise PairsiftError(
        f"cannot tell what {name} is: vision tower, projector or language model; "
        "training does not know this architecture"
    )


def projector_modules(model: nn.Module) -> list[str]:
    """Names of the modules that together are the projector; lists are named by their members."""
    found: list[str] = []
    for name, module in model.named_modules():
        is_inside = any(name.startswith(f"{outer}.") for outer in found)
        parts = name.split(".")
        is_projector = bool(set(parts) & _NAMES["projector"])
        if is_projector and not is_inside and not isinstance(module, nn.ModuleList):
            found.append(name)
    if not found:
        raise PairsiftError("this architecture has no projector that training knows by name")
    return found


def lora_targets(model: nn.Module, stages: Sequence[str]) -> list[str]:
    """Names of the linear layers that get low-rank updates in any of the stages."""
    parts = {part for stage in stages for part in STAGE_PARTS[stage]} - {"projector"}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _HEAD not in name.split(".") and part_of(name) in parts
    ]


def choose_trainable(model: nn.Module, stage: str, is_lora: bool) -> dict[str, int]:
    """Let a stage's parameters, and no others, take part in training.

    Args:
        is_lora: only what low-rank adaptation added (its matrices, and a copy of the projector).

    Returns:
        how many numbers are trained, by part.

    Raises:
        PairsiftError: none would be.
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
    """How many numbers a model has, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
