"""`evaluate cost`: measure every scorer on the same pairs, in turns, with the same threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch

from pairsift import __version__
from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.bench import Loaded, Timing
from pairsift.evaluate.cost.clip_shapes import ClipShape
from pairsift.evaluate.cost.machine import device_name, matmul_peak, torch_threads
from pairsift.evaluate.cost.pairs import Rounds, demo_rounds, digest, mean_of, shard_rounds
from pairsift.evaluate.cost.plot import pictures
from pairsift.evaluate.cost.process import ScorerProcess
from pairsift.evaluate.cost.results import Cost
from pairsift.evaluate.cost.scorer_cost import ScorerCost
from pairsift.evaluate.cost.subjects import NamedScorer, RandomClip, Subject, check_names, installed
from pairsift.evaluate.options import CostOptions
from pairsift.evaluate.output import write_evaluation
from pairsift.progress import Listener, NullListener
from pairsift.scorers.placement import pick_device, pick_dtype

IMAGES, IMAGES_ON_GPU = 12, 768
_LAST = "ViT-L/14"


@dataclass(frozen=True, kw_only=True)
class Options(CostOptions):
    """How to measure scorers: the options of the command line, and these.

    Attributes:
        scorers: names or checkpoint folders; None for every installed scorer that needs no
            checkpoint.
        shapes: shapes of CLIPScore to measure, with random weights.
    """

    scorers: Sequence[str] | None = None
    shapes: Sequence[ClipShape] = ()


def evaluate_cost(out: str, options: Options, listener: Listener | None = None) -> Cost:
    """Measure, and write table, JSON and plot into `out`.

    Every scorer has its own process. All of them are in memory at once and are measured in turns,
    so that a disturbance of the machine affects all. No two rounds share an image.

    Raises:
        PairsiftError: a scorer cannot be loaded, a pair cannot be scored, or there are too few
            pairs.
    """
    listener = listener or NullListener()
    subjects, left_out = _subjects(options)
    check_names(subjects)
    if options.baseline is not None and options.baseline not in [each.name for each in subjects]:
        raise PairsiftError(
            f"--baseline {options.baseline!r} is not measured; there are "
            f"{', '.join(subject.name for subject in subjects)}"
        )
    device = pick_device(options.device or "auto")
    rounds = _rounds(options, device)
    with ExitStack() as stack:
        processes = []
        for subject in subjects:
            process = ScorerProcess(subject, options.threads, options.batch_size)
            stack.callback(process.close)
            processes.append(process)
        listener.message(f"loading {len(subjects)} scorers")
        ready: dict[ScorerProcess, Loaded] = {}
        for process in processes:
            try:
                ready[process] = process.loaded()
            except PairsiftError as error:
                if options.scorers is not None or process.subject.random_weights:
                    raise
                left_out[process.subject.name] = str(error)
        cost = _measure(ready, rounds, device, left_out, options, listener)
    write_evaluation(out, cost.to_json(), cost.markdown(), pictures(cost))
    return cost


def _subjects(options: Options) -> tuple[list[Subject], dict[str, str]]:
    asked = {"device": options.device, "dtype": options.dtype}
    given = {name: value for name, value in asked.items() if value is not None}
    left_out: dict[str, str] = {}
    names = options.scorers
    if names is None:
        names, left_out = installed()
    subjects: list[Subject] = [NamedScorer(name, given) for name in names]
    return subjects + [RandomClip(shape, given) for shape in options.shapes], left_out


def _rounds(options: Options, device: torch.device) -> Rounds:
    each = options.captions_per_image
    pairs = options.pairs or each * (IMAGES_ON_GPU if device.type == "cuda" else IMAGES)
    if each * (each - 1) >= pairs:
        raise PairsiftError(
            f"--captions-per-image {each} takes the captions of as many images: --pairs must be "
            f"at least {each * each}"
        )
    wanted = (options.rounds + 1, pairs, each)
    return shard_rounds(options.shards, *wanted) if options.shards else demo_rounds(*wanted)


def _measure(
    processes: dict[ScorerProcess, Loaded],
    rounds: Rounds,
    device: torch.device,
    left_out: dict[str, str],
    options: Options,
    listener: Listener,
) -> Cost:
    warm_up, *timed = rounds
    listener.message("warming up, and counting operations")
    flops = {process: process.warm_up(warm_up) / len(warm_up) for process in processes}
    listener.message(f"measuring, {len(timed)} rounds")
    timings: dict[ScorerProcess, list[Timing]] = {process: [] for process in processes}
    peaks: dict[str, float] = {}
    order = list(processes)
    for number, pairs in enumerate(timed):
        for loaded in processes.values():
            if loaded.dtype is not None:
                peaks[loaded.dtype] = max(
                    peaks.get(loaded.dtype, 0), _peak(device, loaded.dtype, options.threads)
                )
        # The order rotates, so that no scorer always runs first.
        start = number % len(order)
        for turn, process in enumerate(order[start:] + order[:start]):
            timings[process].append(process.time(pairs))
            listener.progress(
                "measuring", number * len(order) + turn + 1, len(timed) * len(order), unit="turns"
            )
    scorers = [
        ScorerCost(
            name=process.subject.name,
            random_weights=process.subject.random_weights,
            pairs=len(warm_up),
            timings=timings[process],
            flops=flops[process],
            peak=peaks.get(loaded.dtype or ""),
            memory=process.memory(),
            dtype=loaded.dtype,
            facts={
                "batch_size": loaded.batch_size,
                "load_seconds": round(loaded.seconds, 2),
                "fingerprint": loaded.fingerprint,
            },
        )
        for process, loaded in processes.items()
    ]
    names = [scorer.name for scorer in scorers]
    every = [pair for pairs in timed for pair in pairs]
    facts: dict[str, Any] = {
        "pairs": len(warm_up),
        "rounds": len(timed),
        "captions_per_image": options.captions_per_image,
        "source": ", ".join(options.shards) or "the demo's photographs",
        "digest": digest(rounds),
        "mean_image_kb": mean_of(every, lambda pair: len(pair.image or b"")) / 1e3,
        "mean_caption_characters": mean_of(every, lambda pair: len(pair.caption or "")),
        "device": device_name(device),
        "threads": options.threads,
        "cores": len(os.sched_getaffinity(0)),
        "matmul_peak_gflops": {dtype: peak / 1e9 for dtype, peak in peaks.items()},
        "versions": {
            "pairsift": __version__,
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    usual = next((name for name in names if name.endswith(f" {_LAST}")), names[0])
    return Cost(
        scorers,
        options.baseline or usual,
        options.devices,
        options.price_per_hour,
        left_out,
        facts,
    )


def _peak(device: torch.device, dtype: str, threads: int) -> float:
    with torch_threads(threads):
        return matmul_peak(device, pick_dtype(dtype, device))
