"""`train`: from data and a checkpoint to a scorer, stage by stage; resumes after a kill."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pairsift.errors import PairsiftError
from pairsift.manifest import Difference, Manifest
from pairsift.progress import Listener, MessageListener
from pairsift.scorers.mlm.load import ADAPTER_CONFIG
from pairsift.scorers.mlm.scorer import MLMScorer
from pairsift.scorers.placement import pick_device
from pairsift.scorers.registry import load_scorer
from pairsift.storage import Folder, hold
from pairsift.train.checkpoints import move_into
from pairsift.train.dev import decisive, measure
from pairsift.train.items import Collator, RowMaker, TrainingItems, UserPrompt
from pairsift.train.log import MetricsLog, shown
from pairsift.train.objective import Objective
from pairsift.train.param_groups import choose_trainable, count_parameters
from pairsift.train.plan import Plan, make_plan
from pairsift.train.settings import Settings, Stage
from pairsift.train.student import Student
from pairsift.train.trackers import check_trackers, open_trackers
from pairsift.train.trainer import FilterTrainer, StageFolder, planned_steps

#: where `train` keeps its own files, beside the checkpoint
WORK_FOLDER = "training"
RUN_FILE, RESULT_FILE, METRICS_FILE = "run.json", "result.json", "metrics.jsonl"
_STAGES, _EXPORT, _LOCK = "stages", "export", "lock"

Measured = Mapping[str, "float | None"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run.

    Attributes:
        best: stage and step of the checkpoint that was kept.
        dev: agreement of the finished scorer, loaded from ``out``; see
            :func:`pairsift.train.dev.measure`.
        before: agreement of the model before training.
        seconds: duration of the call that finished the run, without reading the data.
    """

    out: str
    train: int
    dev_pairs: int
    best: str
    dev: Measured
    before: Measured
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json` and for result.json."""
        return {
            "out": self.out,
            "train": self.train,
            "dev_pairs": self.dev_pairs,
            "best": self.best,
            "dev": dict(self.dev),
            "before": dict(self.before),
            "seconds": round(self.seconds, 1),
        }

    def text(self) -> str:
        """Text for people."""
        shown = [
            f"{name.replace('_', ' ')} {_number(self.before.get(name))} -> {_number(value)}"
            for name, value in self.dev.items()
            if name.startswith("tau")
        ]
        agreement = f"dev {', '.join(shown)}; " if shown else ""
        return (
            f"best checkpoint: {self.best}; {agreement}"
            f"score with: pairsift score SHARDS --scorer {self.out} --out SCORES"
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def train(settings: Settings, listener: Listener | None = None) -> Summary:
    """Train, or resume a killed run with the same settings.

    ``out`` becomes a checkpoint folder (with LoRA, an adapter's folder) with its prompt pack. It
    also holds ``training/`` with ``metrics.jsonl``, ``run.json`` and ``result.json``.

    Raises:
        PairsiftError: the input is bad, or the folder belongs to another run.
    """
    listener = listener or MessageListener(print)
    plan = make_plan(settings, listener)
    out = Path(settings.out)
    with _alone(out):
        claim(out, plan)
        return _train(plan, out, listener)


def _train(plan: Plan, out: Path, listener: Listener) -> Summary:
    begin, settings = time.monotonic(), plan.settings
    if (done := _finished(out)) is not None:
        listener.message(f"{out} is already finished")
        return done
    for line in plan.lines():
        listener.message(line)
    work, title = out / WORK_FOLDER, out.resolve().name
    results = []
    start: Path | None = None
    names = check_trackers(settings.log)
    with open_trackers(names, work, title, plan.fingerprint) as trackers:
        log = MetricsLog(work / METRICS_FILE, listener, trackers)
        runner = _Runner(plan, out, log)
        for stage in settings.stages:
            folder = runner.folder(stage)
            runner.train_stage(stage, folder, start)
            runner.free()
            start, tau = folder.best()
            results.append((start, stage, tau))
    best, stage, _ = max(results, key=lambda result: (result[2] or 0.0, result[1].number))
    listener.message(f"best checkpoint: {best}")
    runner.export(best)
    runner.free()
    measured = runner.measure_result()
    before = next((row for row in log.rows() if row["step"] == 0), {})
    summary = Summary(
        str(out),
        len(plan.train),
        len(plan.dev),
        f"{stage.name}/{best.name}",
        measured,
        {name.removeprefix("dev_"): v for name, v in before.items() if name.startswith("dev_")},
        time.monotonic() - begin,
    )
    content = json.dumps(summary.to_json(), indent=1) + "\n"
    Folder(out / WORK_FOLDER).write(RESULT_FILE, content.encode())
    if not settings.keep_checkpoints:
        shutil.rmtree(out / WORK_FOLDER / _STAGES)
    return summary


def describe(settings: Settings, listener: Listener | None = None) -> dict[str, Any]:
    """Say what `train` would do: the data, and each stage's steps and trainable parameters.

    Raises:
        PairsiftError: the input is bad.
    """
    listener = listener or MessageListener(print)
    plan = make_plan(settings, listener)
    runner = _Runner(plan, Path(settings.out), MetricsLog(Path(os.devnull), listener))
    student = runner.student(None)
    items = runner.items(MLMScorer(student.backbone, plan.pack, plan.metrics))
    stages = {}
    for line in plan.lines():
        listener.message(line)
    for stage in settings.stages:
        counts = choose_trainable(student.model, stage.parts, student.is_lora)
        stages[stage.name] = {"steps": planned_steps(stage, len(items), settings)} | counts
        listener.message(_stage_line(stage, stages[stage.name]["steps"], counts, student))
    return {
        "train": len(plan.train),
        "dev": len(plan.dev),
        "general": len(plan.exchanges),
        "parameters": count_parameters(student.model),
        "stages": stages,
    }


def claim(out: Path, plan: Plan) -> None:
    """Reserve the folder for this run; call it while holding the folder's lock.

    Raises:
        PairsiftError: the folder holds a run with other settings.
    """
    # What `auto` resolves to: a run must not resume in another precision.
    precision = "bfloat16" if _precision(plan.settings)[2] else "float32"
    identity = {**plan.fingerprint, "precision": precision}

    def refusal(there: Mapping[str, Any], found: list[Difference]) -> str:
        first = found[0]
        return (
            f"{out} holds a training run with another {first.field} ({first.there!r}, now "
            f"{first.now!r}); choose another --out"
        )

    # Older runs did not record all settings, for example the precision.
    optional = frozenset(identity)
    Manifest(Folder(out / WORK_FOLDER), RUN_FILE, identity, refusal, optional).take()


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when this process ends, however it ends.

    Raises:
        PairsiftError: another process holds it, or the folder holds something other than a run.
    """
    if not _is_ours(out):
        raise PairsiftError(f"{out} is not an empty folder; choose another --out")
    work = out / WORK_FOLDER
    Folder(work).create()
    held = hold(work / _LOCK)
    if held is None:
        raise PairsiftError(f"another process is training in {out}")
    with held:
        yield


def _is_ours(out: Path) -> bool:
    """Return whether a folder is empty or was begun by a run, of which there may be only a lock."""
    if out.is_file():
        return False
    work = out / WORK_FOLDER
    if (work / RUN_FILE).is_file() or not out.is_dir():
        return True
    if any(path.name != WORK_FOLDER for path in out.iterdir()):
        return False
    there = [path.name for path in work.iterdir()] if work.is_dir() else []
    return all(name in (_LOCK, RUN_FILE) or name.startswith(".") for name in there)


def _finished(out: Path) -> Summary | None:
    file = out / WORK_FOLDER / RESULT_FILE
    return Summary(**json.loads(file.read_text("utf-8"))) if file.is_file() else None


class _Runner:
    """Runs the stages one after the other."""

    def __init__(self, plan: Plan, out: Path, log: MetricsLog) -> None:
        self.plan = plan
        self.settings = plan.settings
        self.out = out
        self.log = log
        self.device, self.dtype, self.autocast = _precision(plan.settings)

    def folder(self, stage: Stage) -> StageFolder:
        return StageFolder(self.out / WORK_FOLDER / _STAGES / stage.name)

    def student(self, start: Path | None) -> Student:
        settings = self.settings
        return Student(
            self.plan.base,
            start,
            settings.lora,
            [stage.parts for stage in settings.stages],
            dtype=self.dtype,
            device=self.device,
            seed=settings.seed,
        )

    def items(self, scorer: MLMScorer) -> TrainingItems:
        """Make the training items; the prompts are the scorer's own."""
        plan, settings = self.plan, self.settings
        backbone = scorer.backbone
        end = backbone.tokenizer.eos_token_id
        if end is None:
            raise PairsiftError(f"{plan.base.name}: its tokenizer has no token that ends an answer")
        maker = RowMaker(
            plan.sources,
            scorer.preparer,
            backbone.image_transform,
            scorer.encoder,
            plan.metrics,
            settings.objective,
            int(end),
            UserPrompt(scorer.encoder.chat, backbone.image_token, backbone.tokenizer),
        )
        ranked = settings.captions_per_image if settings.ranking else 1
        return TrainingItems(maker, plan.train, plan.exchanges, ranked)

    def train_stage(self, stage: Stage, folder: StageFolder, start: Path | None) -> None:
        """Train a stage to its end, or do nothing if it is finished."""
        plan, settings = self.plan, self.settings
        folder.clean()
        reached = folder.reached
        if folder.finished:
            self.log.listener.message(f"stage {stage.name}: already finished, {reached:,} steps")
            return
        student = self.student(folder.last if reached else start)
        counts = choose_trainable(student.model, stage.parts, student.is_lora)
        if settings.gradient_checkpointing:
            student.save_activations_only_at_layers()
        scorer = MLMScorer(student.backbone, plan.pack, plan.metrics)
        items, scales = self.items(scorer), scorer.encoder.scales
        if settings.workers:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # worker processes are forked
        trainer = FilterTrainer(
            Objective(student.model, student.backbone, scorer.tries, scales, settings.ranking),
            student,
            plan.pack,
            stage,
            folder,
            items,
            Collator(scorer.tries.trees, scales, settings.label_std),
            settings,
            self.log,
            (lambda: self.measure(scorer, items.maker)) if plan.dev else None,
            lambda found: decisive(found, plan.best_by),
            autocast=self.autocast,
            device=self.device,
        )
        steps = trainer.args.max_steps
        self.log.rewind(stage.number, reached)
        self.log.listener.message(_stage_line(stage, steps, counts, student))
        if reached:
            self.log.listener.message(f"resuming after step {reached:,}")
        elif plan.dev and stage.number == 1 and not self.log.rows():
            trainer.evaluate()
        trainer.run()

    def measure(self, scorer: MLMScorer, maker: RowMaker) -> dict[str, float | None]:
        """Measure the dev agreement of a scorer."""
        return measure(
            scorer, self.plan.dev, maker.pair, self.plan.metrics, self.settings.batch_size
        )

    def export(self, best: Path) -> None:
        """Write a checkpoint into ``out``; it can be loaded only once it is complete."""
        student = self.student(best)
        target = self.out / WORK_FOLDER / _EXPORT
        if target.exists():
            shutil.rmtree(target)
        if self.autocast and not student.is_lora:
            student.model.to(torch.bfloat16)  # the dtype that scoring uses on this device
        student.save(target, self.plan.pack)
        config = ADAPTER_CONFIG if self.settings.lora else "config.json"
        move_into(target, self.out, config)

    def measure_result(self) -> dict[str, float | None]:
        """Load the result as a user would, and measure it."""
        if not self.plan.dev:
            return {}
        scorer = load_scorer(self.out, metrics=self.plan.metrics, device=str(self.device))
        assert isinstance(scorer, MLMScorer)
        found = self.measure(scorer, self.items(scorer).maker)
        self.log.listener.message(f"the finished scorer: {shown(found)}")
        return found

    def free(self) -> None:
        """Free the device memory of a model that is no longer used."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _precision(settings: Settings) -> tuple[torch.device, torch.dtype, bool]:
    """Return device, dtype of the weights, and whether to compute in bfloat16.

    Trained weights are float32, because small steps are lost when added to bfloat16 weights.
    """
    device = pick_device(settings.device)
    if device.type == "cuda" and device.index not in (None, 0):
        raise PairsiftError("choose a GPU with CUDA_VISIBLE_DEVICES, and give --device cuda")
    coarse = settings.dtype == "bfloat16" or (
        settings.dtype == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    frozen = torch.bfloat16 if coarse and settings.lora else torch.float32
    return device, frozen, coarse


def _stage_line(stage: Stage, steps: int, counts: Mapping[str, int], student: Student) -> str:
    trained = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    how = "LoRA" if student.is_lora else "full"
    return (
        f"stage {stage.name}: {steps:,} steps at {stage.learning_rate:g}; {how}; trains "
        f"{sum(counts.values()):,} of {count_parameters(student.model):,} parameters ({trained})"
    )
