"""`evaluate human`: agreement of scorers with human judgments."""

from __future__ import annotations

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.compare import ColumnName, compare_preferences, compare_ratings
from pairsift.evaluate.judgments import Preferences, Ratings
from pairsift.evaluate.protocols import Request, read_judgments
from pairsift.evaluate.results import Evaluation
from pairsift.evaluate.run import (
    MISSING_IMAGE,
    Options,
    ScoringListener,
    Silence,
    open_images,
    score_all,
    scorer_facts,
    wanted_columns,
)
from pairsift.evaluate.scoring import PairScores
from pairsift.evaluate.statistics import Floats, ImageBootstrap
from pairsift.storage import Folder

GIVEN = "given"


def evaluate_human(
    protocol: str,
    request: Request,
    out: str,
    options: Options,
    listener: ScoringListener | None = None,
) -> Evaluation:
    """Measure scorers against human judgments and write `out`.

    `out` gets `result.json`, `table.md`, `plot.svg` (with matplotlib), `judgments.parquet` (every
    judgment beside every score) and `scores/`, from which a rerun takes what is scored already.

    Args:
        protocol: a name of :data:`pairsift.evaluate.protocols.PROTOCOLS`.
        request: what to read.

    Raises:
        PairsiftError: judgments, captions, images or a scorer cannot be used.
    """
    chosen, judgments = read_judgments(protocol, request)
    if not options.scorers and not request.given:
        raise PairsiftError("nothing to compare: give --scorer, or --given for scores in the file")
    found: list[PairScores] = []
    if options.scorers:
        store, there = open_images(judgments.images, options)
        judgments = judgments.keep(there, MISSING_IMAGE)
        found = score_all(judgments.pairs(), store, options, out, listener or Silence())
    bootstrap = ImageBootstrap(judgments.images, options.resamples, options.seed)
    if isinstance(judgments, Preferences):
        columns = compare_preferences(judgments, _two_sided(judgments, found, options), bootstrap)
    else:
        scores = _one_sided(judgments, found, options)
        columns = compare_ratings(judgments, scores, chosen.headline, bootstrap)
        _write_judgments(judgments, scores, out)
    evaluation = Evaluation(
        title=f"Agreement with people: {chosen.name}",
        headline=chosen.headline,
        judgments=len(judgments),
        images=bootstrap.images,
        columns=columns,
        left_out=judgments.left_out,
        settings={
            "protocol": chosen.name,
            "judgments": request.path,
            "captions": request.captions,
            "images": list(options.images),
            "resamples": options.resamples,
            "seed": options.seed,
        },
        scorers=scorer_facts(found),
    )
    evaluation.write(out)
    return evaluation


def _one_sided(
    ratings: Ratings, found: list[PairScores], options: Options
) -> dict[ColumnName, Floats]:
    columns = {
        (scores.name, column): scores.of(column, ratings.images, ratings.captions)
        for scores in found
        for column in wanted_columns(scores, options)
    }
    return columns | {(GIVEN, name): values for name, values in ratings.given.items()}


def _two_sided(
    preferences: Preferences, found: list[PairScores], options: Options
) -> dict[ColumnName, tuple[Floats, Floats]]:
    return {
        (scores.name, column): (
            scores.of(column, preferences.images, preferences.first),
            scores.of(column, preferences.images, preferences.second),
        )
        for scores in found
        for column in wanted_columns(scores, options)
    }


def _write_judgments(ratings: Ratings, scores: dict[ColumnName, Floats], out: str) -> None:
    """Every judgment beside every score, for whoever wants to look at the outliers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"image": ratings.images, "caption": ratings.captions, "rating": ratings.ratings}
    arrays = {name: pa.array(values) for name, values in table.items()}
    for (scorer, column), values in scores.items():
        arrays[f"{scorer}/{column}"] = pa.array(np.asarray(values), from_pandas=True)
    folder = Folder(out)
    folder.create()
    with folder.atomic("judgments.parquet") as file:
        pq.write_table(pa.table(arrays), file, compression="zstd")
