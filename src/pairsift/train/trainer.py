"""The Hugging Face Trainer with complete checkpoints, our dev agreement, and our log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers import TrainingArguments as Arguments

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.train.checkpoints import (
    checkpoint,
    complete_steps,
    keep_only,
    mark_complete,
    remove_incomplete,
)
from pairsift.train.items import Collator, TrainingItems
from pairsift.train.log import MetricsLog
from pairsift.train.objective import Objective
from pairsift.train.settings import Settings, Stage
from pairsift.train.student import Student

STATE_FILE = "trainer_state.json"
_DECISIVE = "eval_decisive"

Measure = Callable[[], "dict[str, float | None]"]


def planned_steps(stage: Stage, items: int, settings: Settings) -> int:
    """Return the optimizer steps of a stage."""
    if stage.steps is not None:
        return stage.steps
    passes = math.ceil(items / settings.batch_size)
    return max(1, math.ceil(stage.epochs * math.ceil(passes / settings.accumulate)))


class StageFolder:
    """The checkpoints of one stage."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def clean(self) -> None:
        """Remove what a killed run only half wrote."""
        remove_incomplete(self.path)

    @property
    def reached(self) -> int:
        """Step of the last complete checkpoint; 0 if there is none."""
        return max(complete_steps(self.path), default=0)

    @property
    def last(self) -> Path:
        """The last complete checkpoint."""
        return checkpoint(self.path, self.reached)

    @property
    def finished(self) -> bool:
        """Whether the stage was trained to its end."""
        return self.reached > 0 and self._state()["max_steps"] == self.reached

    def best(self) -> tuple[Path, float | None]:
        """Return the checkpoint with the best dev agreement, and that number; the last one if
        nothing was measured.

        Raises:
            PairsiftError: the checkpoint's folder is missing.
        """
        state = self._state()
        step = state.get("best_global_step")
        if step is None:
            return self.last, None
        if step not in complete_steps(self.path):
            raise PairsiftError(f"{self.path}: checkpoint {step}, the best one, is missing")
        return checkpoint(self.path, step), float(state["best_metric"])

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.last / STATE_FILE).read_text("utf-8"))
        return state


class FilterTrainer(Trainer):  # type: ignore[misc]
    """Trains one stage.

    Args:
        measure: measures the dev agreement of the model; None to measure nothing.
        decisive: returns the number by which the best checkpoint is chosen.
    """

    control: Any

    def __init__(
        self,
        objective: Objective,
        student: Student,
        pack: PromptPack,
        stage: Stage,
        folder: StageFolder,
        items: TrainingItems,
        collator: Collator,
        settings: Settings,
        log: MetricsLog,
        measure: Measure | None,
        decisive: Callable[[dict[str, float | None]], float],
        *,
        autocast: bool,
        device: torch.device,
    ) -> None:
        self.student, self.pack, self.stage, self.folder = student, pack, stage, folder
        self.metrics_log, self.measure, self.decisive = log, measure, decisive
        steps = planned_steps(stage, len(items), settings)
        arguments = Arguments(
            output_dir=str(folder.path),
            max_steps=steps,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.accumulate,
            learning_rate=stage.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=round(settings.warmup * steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            optim="adamw_torch",
            bf16=autocast,
            use_cpu=device.type == "cpu",
            seed=settings.seed,
            data_seed=settings.seed,
            dataloader_num_workers=settings.workers,
            remove_unused_columns=False,
            save_strategy="steps",
            save_steps=settings.save_every,
            eval_strategy="no",  # evaluated at every save: see _Flow
            logging_steps=settings.log_every,
            logging_nan_inf_filter=False,
            metric_for_best_model=_DECISIVE,
            greater_is_better=True,
            disable_tqdm=True,
            report_to="none",
            log_level="error",
        )
        # With several GPUs the Trainer would wrap the model in DataParallel, which our loss does
        # not support.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        super().__init__(
            model=objective,
            args=arguments,
            train_dataset=items,
            data_collator=collator,
            callbacks=[_Flow(self)],
        )
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def run(self) -> None:
        """Train from the last complete checkpoint to the end of the stage.

        Raises:
            PairsiftError: the loss is not finite, or the device's memory is too small.
        """
        self.folder.path.mkdir(parents=True, exist_ok=True)
        try:
            self.train(
                resume_from_checkpoint=str(self.folder.last) if self.folder.reached else None
            )
        except torch.OutOfMemoryError as error:
            raise PairsiftError(
                "the device's memory is too small; try a smaller --batch-size with a larger "
                f"--accumulate, --gradient-checkpointing, or --lora ({str(error).splitlines()[0]})"
            ) from None

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure dev agreement; the Trainer calls this before it saves."""
        assert self.measure is not None
        was_training = self.model.training
        self.model.eval()
        try:
            with self.accelerator.autocast():
                found = self.measure()
        finally:
            self.model.train(was_training)
        self.metrics_log.measured(self.stage.number, self.state.global_step, found)
        metrics = {_DECISIVE: self.decisive(found)}
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.student.save(Path(output_dir or self.args.output_dir), self.pack)

    def _load_from_checkpoint(self, *_: Any, **__: Any) -> None:
        """Do nothing, because the student was loaded from it already."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        step = self.state.global_step
        mark_complete(checkpoint(self.folder.path, step))
        best = self.state.best_global_step
        keep_only(self.folder.path, [step] if best is None else [step, best])


class _Flow(TrainerCallback):  # type: ignore[misc]
    """Decides when to log and measure, and writes the numbers to the log."""

    def __init__(self, trainer: FilterTrainer) -> None:
        self.trainer = trainer
        self._since: tuple[float, int] = (time.monotonic(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._since = (time.monotonic(), state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if control.should_save:
            # Sums restart at each checkpoint, so that a resumed run logs the same numbers.
            control.should_log = True
            control.should_evaluate = self.trainer.measure is not None

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any
    ) -> None:
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise PairsiftError(
                f"the loss is {loss} at step {state.global_step:,}; try a smaller --learning-rate"
            )
        began, step = self._since
        done = max(state.global_step - step, 1)
        numbers = {
            "loss": loss,
            "learning_rate": float(logs["learning_rate"]),
            "grad_norm": float(logs["grad_norm"]) if "grad_norm" in logs else None,
            "epoch": round(float(state.epoch), 4),
            "seconds_a_step": (time.monotonic() - began) / done,
        }
        self._since = (time.monotonic(), state.global_step)
        self.trainer.metrics_log.training(
            self.trainer.stage.number, state.global_step, state.max_steps, numbers
        )
