"""Everything about a run that is known before the model is loaded."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.pair import counts_in_words
from pairsift.progress import Listener
from pairsift.scorers.checkpoints import checkpoint_digest
from pairsift.scorers.mlm.prompt_files import load_prompts, recorded_prompts
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.train.examples import (
    Example,
    Exchange,
    Source,
    TrainingData,
    fewest,
    read_data,
    read_mix,
    split_dev,
)
from pairsift.train.items import usable
from pairsift.train.settings import MEAN, Settings
from pairsift.train.student import Base, find_base
from pairsift.train.trackers import check_trackers


@dataclass(frozen=True)
class Plan:
    """The data and settings of a run, checked.

    Attributes:
        metrics: the metrics that are trained, in canonical order.
        train, dev, exchanges: examples to train on, to measure on, and general instructions.
        best_by: a metric, or ``mean``.
        left_out: how many entries cannot be used, by reason.
        fingerprint: everything that decides the result.
    """

    settings: Settings
    base: Base
    pack: PromptPack
    metrics: tuple[str, ...]
    sources: list[Source]
    train: list[Example]
    dev: list[Example]
    exchanges: list[Exchange]
    best_by: str
    left_out: dict[str, int]
    fingerprint: dict[str, Any]

    def lines(self) -> list[str]:
        """Lines of text for people."""
        taught = Counter(metric for example in self.train for metric in example.scores)
        images = len({(example.place, example.image) for example in self.train})
        counts = ", ".join(f"{metric} {taught[metric]:,}" for metric in self.metrics)
        lines = [f"train: {len(self.train):,} pairs on {images:,} images ({counts})"]
        if self.exchanges:
            lines.append(f"mixed in: {len(self.exchanges):,} general instructions")
        lines.append(
            f"dev: {len(self.dev):,} pairs on "
            f"{len({(example.place, example.image) for example in self.dev}):,} images; "
            f"best by tau of {self.best_by}"
            if self.dev
            else "dev: none; the last checkpoint is the result"
        )
        for reason, count in sorted(self.left_out.items()):
            lines.append(f"left out: {count:,} ({reason})")
        lines.append(f"prompts: {self.pack.name} (chat {self.pack.chat})")
        return lines


def make_plan(settings: Settings, listener: Listener) -> Plan:
    """Read the data and check everything that could fail later.

    Raises:
        PairsiftError: a check fails.
    """
    settings.check()
    check_packages(settings)
    base = find_base(settings.model)
    listener.message(f"reading {', '.join(settings.data)}")
    pack = _choose_pack(settings, base)
    known = {**METRICS, **{name: pack.metric(name) for name in pack.metrics}}
    data = usable(read_data(settings.data, settings.images, settings.metrics, known=known))
    metrics = _metrics_of(data, settings, pack)
    if settings.dev_data is not None:
        other = usable(
            read_data([settings.dev_data], settings.images, settings.metrics, data.sources, known)
        )
        train, dev = data.examples, fewest(other.examples, settings.dev_pairs, settings.seed)
        data.digests += other.digests
    else:
        train, dev = split_dev(
            data.examples, settings.dev_fraction, settings.dev_pairs, settings.seed
        )
    if not train:
        raise PairsiftError("nothing is left to train on; lower --dev-fraction")
    if not dev and (settings.dev_fraction or settings.dev_data):
        raise PairsiftError(
            f"no dev pair among {len(data.examples):,}; raise --dev-fraction, give --dev-data, "
            "or give --dev-fraction 0 to train without dev pairs"
        )
    if dev and not any(metric in example.scores for example in dev for metric in metrics):
        raise PairsiftError(
            f"the dev pairs have no scores for {', '.join(metrics)}; give other --dev-data"
        )
    if settings.ranking and not _has_ranked(train):
        raise PairsiftError("--ranking: no image has two captions with scores of one metric")
    mixed = TrainingData(data.sources)
    if settings.mix is not None:
        wanted = round(settings.mix_ratio * len(train))
        read_mix(settings.mix, settings.images, wanted, settings.seed, mixed)
        mixed = usable(mixed)
    lacking = [metric for metric in metrics if metric not in pack.metrics]
    if lacking:
        raise PairsiftError(f"prompt pack {pack.name!r} has no text for {', '.join(lacking)}")
    return Plan(
        settings=settings,
        base=base,
        pack=pack,
        metrics=metrics,
        sources=data.sources,
        train=train,
        dev=dev,
        exchanges=[*data.exchanges, *mixed.exchanges],
        best_by=_best_by(settings, metrics),
        left_out=dict(Counter(data.left_out) + Counter(mixed.left_out)),
        fingerprint={
            "model": checkpoint_digest(base.folder),
            "data": [*data.digests, *mixed.digests],
            "prompts": pack.digest,
            "metrics": list(metrics),
            **settings.decisive(),
        },
    )


def check_packages(settings: Settings) -> None:
    """Check that the packages for training are installed, before anything takes time.

    Raises:
        PairsiftError: a package is missing, or this is one of several processes.
    """
    needed = ["accelerate", "scipy", *(["peft"] if settings.lora else [])]
    for package in needed:
        try:
            __import__(package)
        except ImportError:
            raise PairsiftError(
                f"training needs {package}: pip install 'pairsift[train]'"
            ) from None
    check_trackers(settings.log)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise PairsiftError("training runs in one process on one device; start it without torchrun")


def _metrics_of(data: TrainingData, settings: Settings, pack: PromptPack) -> tuple[str, ...]:
    there = {metric for example in data.examples for metric in example.scores}
    if not there:
        raise PairsiftError(f"no usable pair is left: {counts_in_words(data.left_out)}")
    lacking = [metric for metric in settings.metrics or () if metric not in there]
    if lacking:
        raise PairsiftError(f"the data has no scores for {', '.join(lacking)}")
    order = dict.fromkeys([*(metric.name for metric in pack.in_tables()), *METRICS])
    return tuple(metric for metric in order if metric in there)


def _has_ranked(examples: list[Example]) -> bool:
    met = Counter((e.place, e.image, metric) for e in examples for metric in e.scores)
    return max(met.values()) > 1


def _choose_pack(settings: Settings, base: Base) -> PromptPack:
    if settings.prompts is not None:
        return load_prompts(settings.prompts)
    places = [base.folder, *(Path(path) for path in settings.data)]
    folders = [place if place.is_dir() else place.parent for place in places]
    for folder in folders:
        if (pack := recorded_prompts(folder)) is not None:
            return pack
    return load_prompts()


def _best_by(settings: Settings, metrics: tuple[str, ...]) -> str:
    chosen = settings.best_by or ("itm" if "itm" in metrics else MEAN)
    if chosen != MEAN and chosen not in metrics:
        raise PairsiftError(f"--best-by {chosen!r}: choose from {', '.join([*metrics, MEAN])}")
    return chosen
