"""Shared code of `evaluate human` and `evaluate pairs`: scorers over pairs, tables out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairsift.engines.named_pairs import ImageCaption, PairScores, score_pairs
from pairsift.errors import PairsiftError
from pairsift.evaluate.compare import ColumnName, compare_preferences
from pairsift.evaluate.judgments import Preferences
from pairsift.evaluate.results import ColumnResult, SliceResult
from pairsift.evaluate.slices import measure_slices
from pairsift.evaluate.statistics import Floats, ImageBootstrap
from pairsift.pair import counts_in_words
from pairsift.progress import Listener
from pairsift.sources.image_store import ImageStore

MISSING_IMAGE = "image missing"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of both commands.

    Attributes:
        scorers: names or checkpoint folders.
        images: folders, tars or parquet files.
        columns: only these score columns; None for all that rank pairs.
        resamples, seed: of the bootstrap; 0 resamples gives no intervals.
        skip_missing: leave out judgments whose image is missing, instead of stopping.
        scorer_options: passed to every scorer (`device`, `dtype`, `metrics`, ...).
    """

    scorers: Sequence[str]
    images: Sequence[str]
    columns: Sequence[str] | None = None
    resamples: int = 1000
    seed: int = 0
    batch_size: int | None = None
    skip_missing: bool = False
    scorer_options: Mapping[str, Any] = field(default_factory=dict)

    def bootstrap(self, images: list[str]) -> ImageBootstrap:
        """Return the bootstrap over judgments on these images."""
        return ImageBootstrap(images, self.resamples, self.seed)


def open_images(judged: Sequence[str], options: Options) -> tuple[ImageStore, np.ndarray]:
    """Open the images.

    Args:
        judged: image file name of every judgment; shape (n,).

    Returns:
        the images, and a mask, shape (n,), of the judgments whose image was found.

    Raises:
        PairsiftError: images are missing and must not be skipped, or none is found.
    """
    if not options.images:
        raise PairsiftError("scoring needs --images: a folder, a .tar or a .parquet file")
    store = ImageStore(options.images)
    missing = set(store.missing(dict.fromkeys(judged)))
    if not missing:
        return store, np.ones(len(judged), dtype=bool)
    places = ", ".join(options.images)
    total = len(set(judged))
    if not options.skip_missing or len(missing) == total:
        raise PairsiftError(
            f"{len(missing):,} of {total:,} judged images are not in {places}, for example: "
            f"{store.why_missing(min(missing))}. Give all places with --images, or --skip-missing "
            "to leave their judgments out"
        )
    return store, np.array([image not in missing for image in judged], dtype=bool)


def score_all(
    pairs: Iterable[ImageCaption],
    store: ImageStore,
    options: Options,
    out: str,
    listener: Listener | None,
) -> list[PairScores]:
    """Score every pair with every scorer; only one scorer is in memory at a time.

    Raises:
        PairsiftError: a scorer cannot be loaded, has none of the requested columns, or scores
            nothing.
    """
    from pairsift.scorers.registry import load_scorer

    pairs = list(pairs)
    found = []
    for name in options.scorers:
        scorer = load_scorer(name, **options.scorer_options)
        scores = score_pairs(
            name, scorer, pairs, store, out, batch_size=options.batch_size, listener=listener
        )
        if scores.rows and sum(scores.failures.values()) == len(scores.rows):
            why = counts_in_words(scores.failures)
            raise PairsiftError(f"{name} could score none of the pairs: {why}")
        if not wanted_columns(scores, options):
            raise PairsiftError(
                f"{name} has no column {', '.join(options.columns or ['of numbers'])}; it has "
                f"{', '.join(scores.columns) or 'none'}"
            )
        found.append(scores)
        del scorer  # the next scorer may need the memory
    return found


def wanted_columns(scores: PairScores, options: Options) -> list[str]:
    """Return a scorer's columns that are requested and hold any number."""
    return [
        column
        for column, values in scores.columns.items()
        if (options.columns is None or column in options.columns) and np.isfinite(values).any()
    ]


def preference_results(
    preferences: Preferences, found: Sequence[PairScores], options: Options, by: Sequence[str]
) -> tuple[list[ColumnResult], list[SliceResult]]:
    """Return the accuracy of every score column, on the whole and on every slice."""
    columns: dict[ColumnName, tuple[Floats, Floats]] = {
        (scores.name, column): (
            scores.of(column, preferences.images, preferences.first),
            scores.of(column, preferences.images, preferences.second),
        )
        for scores in found
        for column in wanted_columns(scores, options)
    }

    def compare(part: Preferences, rows: np.ndarray) -> list[ColumnResult]:
        own = {name: (a[rows], b[rows]) for name, (a, b) in columns.items()}
        return compare_preferences(part, own, options.bootstrap(part.images))

    whole = compare(preferences, np.ones(len(preferences), bool))
    return whole, measure_slices(preferences, by, found, compare)


def scorer_facts(found: Sequence[PairScores]) -> dict[str, Any]:
    """Return what result.json says about a scorer."""
    return {
        scores.name: {
            "fingerprint": scores.fingerprint,
            "pairs": len(scores.rows),
            "failures": scores.failures,
            "scored_now": scores.scored,
            "scope": scores.scope.to_json() if scores.scope else None,
            "seconds": round(scores.seconds, 2),
        }
        for scores in found
    }
