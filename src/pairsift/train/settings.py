"""Settings of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.train.options import TrainOptions

#: which parameters each stage trains; see :mod:`pairsift.train.param_groups`
STAGE_PARTS: dict[str, tuple[str, ...]] = {
    "projector": ("projector",),
    "language": ("projector", "language"),
    "all": ("projector", "language", "vision"),
}
OBJECTIVES = ("distribution", "words")
MEAN = "mean"

_PROJECTOR_RATE = 1e-3
_FULL_RATE = 2e-5
_LORA_RATE = 2e-4


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the run with its own trainable parameters and learning-rate schedule.

    Attributes:
        number: from 1.
        parts: a key of :data:`STAGE_PARTS`.
        epochs: passes over the examples; ignored if ``steps`` is given.
        steps: optimizer steps.
        learning_rate: the highest learning rate of the stage.
    """

    number: int
    parts: str
    epochs: float
    steps: int | None
    learning_rate: float

    @property
    def name(self) -> str:
        """Name for folders and logs."""
        return f"{self.number}-{self.parts}"


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adaptation of the linear layers; the projector is trained in full beside it."""

    rank: int
    alpha: int
    dropout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(TrainOptions):
    """All settings of a training run: those of the command line, and these.

    Attributes:
        metrics: None for all that the data has.
        lora: None for full fine-tuning.
        max_grad_norm: longer gradients are scaled down to this norm.
    """

    stages: tuple[Stage, ...]
    metrics: tuple[str, ...] | None = None
    lora: Lora | None = None
    max_grad_norm: float = 1.0

    def check(self) -> None:
        """Check for contradictions between settings.

        Raises:
            PairsiftError: there is one.
        """
        if self.objective not in OBJECTIVES:
            raise PairsiftError(f"--objective {self.objective!r}: choose {' or '.join(OBJECTIVES)}")
        if self.ranking and self.objective != "distribution":
            raise PairsiftError("--ranking compares expected scores: it needs the distribution")
        if self.ranking and self.captions_per_image < 2:
            raise PairsiftError("--ranking needs --captions-per-image of at least 2")
        if "://" in self.out:
            raise PairsiftError(f"--out {self.out}: training needs a folder on a local disk")
        if not self.stages:
            raise PairsiftError("--stages: at least one is needed")
        if self.lora and all(stage.parts == "projector" for stage in self.stages):
            raise PairsiftError("--lora adapts the language model: name a stage language or all")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise PairsiftError(f"--dtype {self.dtype!r}: choose auto, float32 or bfloat16")

    def decisive(self) -> dict[str, Any]:
        """What decides the result besides model and data; the same in a resumed run."""
        return {
            "stages": [
                [stage.name, stage.epochs, stage.steps, stage.learning_rate]
                for stage in self.stages
            ],
            "lora": self.lora and [self.lora.rank, self.lora.alpha, self.lora.dropout],
            **{
                name: getattr(self, name)
                for name in (
                    "objective", "label_std", "ranking", "captions_per_image", "batch_size",
                    "accumulate", "warmup", "weight_decay", "max_grad_norm", "save_every",
                    "log_every", "dev_fraction", "dev_pairs", "best_by", "mix_ratio", "seed",
                )
            },
        }  # fmt: skip


def parse_stages(
    names: str,
    *,
    epochs: str | None = None,
    steps: str | None = None,
    learning_rates: str | None = None,
    lora: bool = False,
) -> tuple[Stage, ...]:
    """Read comma-separated lists: a value for each stage, or one value for all.

    Raises:
        PairsiftError: a stage is unknown, a list has another length, or a value is not a number.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in STAGE_PARTS:
            raise PairsiftError(f"--stages {name!r}: choose from {', '.join(STAGE_PARTS)}")
    if epochs is not None and steps is not None:
        raise PairsiftError("give either --epochs or --steps")
    per_epochs = _numbers("--epochs", epochs, len(chosen))
    per_steps = _numbers("--steps", steps, len(chosen))
    rates = _numbers("--learning-rate", learning_rates, len(chosen))
    stages = []
    for index, name in enumerate(chosen):
        usual = _PROJECTOR_RATE if name == "projector" else _LORA_RATE if lora else _FULL_RATE
        if per_steps and per_steps[index] != int(per_steps[index]):
            raise PairsiftError(f"--steps {steps}: give whole numbers")
        stages.append(
            Stage(
                index + 1,
                name,
                per_epochs[index] if per_epochs else 1.0,
                int(per_steps[index]) if per_steps else None,
                rates[index] if rates else usual,
            )
        )
    return tuple(stages)


def _numbers(option: str, text: str | None, count: int) -> Sequence[float] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise PairsiftError(f"{option} {text!r}: give numbers, separated by commas") from None
    if any(not 0 < value < float("inf") for value in values):
        raise PairsiftError(f"{option} {text!r}: give numbers above 0")
    if len(values) not in (1, count):
        raise PairsiftError(
            f"{option} {text!r}: give one number, or one for each of {count} stages"
        )
    return values * count if len(values) == 1 else values
