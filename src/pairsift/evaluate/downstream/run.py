"""`evaluate downstream`: from a pool to a table of the accuracy that each filter leads to."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import Pool, read_classes, read_pool, read_retrieval
from pairsift.evaluate.downstream.features import FeatureCache, Part
from pairsift.evaluate.downstream.filters import NONE, RANDOM, baselines, filters_of, read_scores
from pairsift.evaluate.downstream.plot import pictures
from pairsift.evaluate.downstream.pool import (
    LABELS,
    SHARDS,
    PoolSettings,
    build_pool,
)
from pairsift.evaluate.downstream.results import Downstream, summarise
from pairsift.evaluate.downstream.student import StudentSettings
from pairsift.evaluate.downstream.training import Bench, plan, train_all
from pairsift.evaluate.options import DownstreamOptions, DownstreamSources
from pairsift.evaluate.output import write_evaluation
from pairsift.metrics import Metric
from pairsift.progress import Listener, NullListener
from pairsift.scorers.registry import load_scorer
from pairsift.sources import ShardSet, find_shards
from pairsift.sources.image_store import ImageStore
from pairsift.storage import join
from pairsift.teach.items import read_alt_text, read_items

SCORES = "scores"
SCORERS = ("heuristics", "dual-encoder", "pairsift-tiny")
EPOCHS = 3
"""Default for the samples seen, as a multiple of the pool."""


Sources = DownstreamSources


@dataclass(frozen=True, kw_only=True)
class Options(DownstreamOptions):
    """How to compare filters: the options of the command line, and these.

    Attributes:
        keep: fractions of the pool that every filter keeps.
        classification_limit: images of each classification set; None for all.
        scorer_options: passed to every scorer (`metrics`, ...).
    """

    scorers: Sequence[str] = SCORERS
    keep: Sequence[float] = (0.3,)
    classification_limit: int | None = 2000
    pool: PoolSettings = field(default_factory=PoolSettings)
    scorer_options: dict[str, Any] = field(default_factory=dict)


def evaluate_downstream(
    sources: Sources, out: str, options: Options, listener: Listener | None = None
) -> Downstream:
    """Make or find the pool, score it, train students on what each filter keeps, and compare them.

    Every step writes its result to `out` and is not repeated. A run can be killed at any time and
    started again.

    Raises:
        PairsiftError: sources are missing or do not fit together, test images are in the pool, or
            a scorer cannot be loaded.
    """
    listener = listener or NullListener()
    begin = time.perf_counter()
    _check(sources, options)
    shards, labels = _pool(sources, out, options, listener)
    described: dict[str, dict[str, Metric]] = {}
    for name in options.scorers:
        listener.message(f"scoring the pool with {name}")
        scorer = load_scorer(name, **options.scorer_options)
        score_shards(
            shards,
            scorer,
            scores_folder(out, name),
            batch_size=options.batch_size,
            listener=listener,
        )
        described[name] = scorer.described
        del scorer  # the next scorer may need the memory
    scored = time.perf_counter()
    listener.message("computing image features")
    bench = _bench(sources, shards, labels, out, options)
    featured = time.perf_counter()
    filters = baselines(bench.pool)
    for name in options.scorers:
        columns = read_scores(scores_folder(out, name), bench.pool.places)
        filters += filters_of(name, columns, described[name])
    names = [each.name for each in filters]
    if len(set(names)) < len(names):
        raise PairsiftError(f"two filters share a name: {', '.join(sorted(names))}")
    listener.message(f"training students for {len(filters)} filters")
    tasks = plan(bench, filters, options.keep, options.seeds)
    jobs = options.jobs or len(os.sched_getaffinity(0))
    runs = train_all(bench, tasks, out, jobs, listener)
    compared = [NONE, RANDOM, *(name for name in ("dual-encoder",) if name in names)]
    comparison = Downstream(
        summarise(runs, compared),
        len(bench.pool),
        options.seeds,
        {
            "sources": asdict(sources),
            "student": asdict(bench.settings),
            "classes": {s.name: [len(s.classes), len(s.labels)] for s in bench.classes},
            "retrieval": bench.captioned
            and {
                "images": len(bench.captioned.features),
                "captions": len(bench.captioned.captions),
            },
            "bench": bench.digest()[:16],
            "student_seconds": round(sum(run["seconds"] for run in runs), 1),
            "seconds": {
                "pool_and_scores": round(scored - begin, 1),
                "features": round(featured - scored, 1),
                "training": round(time.perf_counter() - featured, 1),
            },
        },
    )
    write_evaluation(out, comparison.to_json(), comparison.markdown(), pictures(comparison))
    return comparison


def scores_folder(out: str, scorer: str) -> str:
    """Return the folder of the pool's scores by a scorer."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", scorer.rstrip("/").rsplit("/", 1)[-1])
    return join(join(out, SCORES), readable)


def _check(sources: Sources, options: Options) -> None:
    if bool(sources.pool) == bool(sources.images):
        raise PairsiftError(
            "give either --images with --captions, from which a noisy pool is made, or "
            "your own --pool"
        )
    if sources.images and not sources.captions:
        raise PairsiftError("a pool made from --images needs their --captions")
    if sources.retrieval_images and not (sources.retrieval_captions or sources.captions):
        raise PairsiftError("--retrieval-images need --captions that describe them")
    if not (sources.retrieval_images or sources.classification):
        raise PairsiftError("nothing to test on: give --retrieval-images or --classification")
    if not options.keep or not all(0 < fraction <= 1 for fraction in options.keep):
        raise PairsiftError("--keep must be fractions above 0 and at most 1, for example 0.3")


def _pool(
    sources: Sources, out: str, options: Options, listener: Listener
) -> tuple[ShardSet, str | None]:
    if sources.pool:
        return find_shards(sources.pool), sources.labels
    listener.message("building the pool")
    assert sources.captions is not None  # checked
    images = ImageStore(sources.images)
    items = read_items(sources.captions, images)
    if options.image_limit is not None and options.image_limit < len(items):
        drawn = np.random.default_rng(options.pool.seed).permutation(len(items))
        items = [items[place] for place in np.sort(drawn[: options.image_limit])]
    build_pool(
        items,
        images,
        read_alt_text(sources.alt_text) if sources.alt_text else [],
        out,
        options.pool,
    )
    return find_shards([join(out, SHARDS)]), join(out, LABELS)


def _bench(
    sources: Sources, shards: ShardSet, labels: str | None, out: str, options: Options
) -> Bench:
    cache = FeatureCache(out)
    pool = read_pool(shards, labels, cache)
    captioned = None
    if sources.retrieval_images:
        captions = sources.retrieval_captions or sources.captions
        assert captions is not None  # checked
        captioned, part = read_retrieval(sources.retrieval_images, captions, cache)
        _refuse_leaks(pool, part, ", ".join(sources.retrieval_images))
    classes = []
    for path in sources.classification:
        images, part = read_classes(path, options.classification_limit, 0, cache)
        _refuse_leaks(pool, part, path)
        classes.append(images)
    seen = options.samples_seen or EPOCHS * len(pool)
    return Bench(pool, classes, captioned, StudentSettings(seen))


def _refuse_leaks(pool: Pool, part: Part, what: str) -> None:
    shared = set(pool.part.digests) & set(part.digests)
    if shared:
        row = next(r for r, i in enumerate(part.image) if i >= 0 and part.digests[i] in shared)
        raise PairsiftError(
            f"{len(shared):,} images of {what} are also in the pool, for example {part.keys[row]}: "
            "a student must not be trained on the images it is tested on"
        )
