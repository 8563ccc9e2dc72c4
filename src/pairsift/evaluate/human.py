"""`evaluate human`: measure how scorers agree with human judgments."""

from __future__ import annotations

import numpy as np

from pairsift.engines.named_pairs import PairScores
from pairsift.errors import PairsiftError
from pairsift.evaluate.compare import ColumnName, compare_ratings
from pairsift.evaluate.judgments import Preferences, Ratings
from pairsift.evaluate.output import write_evaluation
from pairsift.evaluate.plot import pictures
from pairsift.evaluate.protocols import Request, read_judgments
from pairsift.evaluate.results import ColumnResult, Evaluation
from pairsift.evaluate.run import (
    MISSING_IMAGE,
    Options,
    open_images,
    preference_results,
    score_all,
    scorer_facts,
    wanted_columns,
)
from pairsift.evaluate.slices import measure_slices
from pairsift.evaluate.statistics import Floats
from pairsift.progress import Listener
from pairsift.sources.outputs import OUTPUT_KEY
from pairsift.storage import Folder

GIVEN = "given"


def evaluate_human(
    protocol: str,
    request: Request,
    out: str,
    options: Options,
    listener: Listener | None = None,
) -> Evaluation:
    """Measure scorers against human judgments and write the result to `out`.

    `out` gets `result.json`, `table.md`, `plot.svg` (with matplotlib), `judgments.parquet` (every
    judgment beside every score) and `scores/`, a cache that a rerun reads.

    Args:
        protocol: a name of :data:`pairsift.evaluate.protocols.PROTOCOLS`.
        request: the files to read.

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
        found = score_all(judgments.pairs(), store, options, out, listener)
    if isinstance(judgments, Preferences):
        columns, slices = preference_results(judgments, found, options, request.by)
    else:
        scores = _scores(judgments, found, options)
        headline = chosen.headline

        def compare(part: Ratings, rows: np.ndarray) -> list[ColumnResult]:
            own = {name: values[rows] for name, values in scores.items()}
            return compare_ratings(part, own, headline, options.bootstrap(part.images))

        columns = compare(judgments, np.ones(len(judgments), bool))
        slices = measure_slices(judgments, request.by, found, compare)
        _write_judgments(judgments, scores, out)
    evaluation = Evaluation(
        title=f"Agreement with people: {chosen.name}",
        headline=chosen.headline,
        judgments=len(judgments),
        images=len(set(judgments.images)),
        columns=columns,
        left_out=judgments.left_out,
        settings={
            "protocol": chosen.name,
            "judgments": request.path,
            "captions": request.captions,
            "images": list(options.images),
            "resamples": options.resamples,
            "seed": options.seed,
            "by": list(request.by),
        },
        scorers=scorer_facts(found),
        slices=slices,
    )
    write_evaluation(out, evaluation.to_json(), evaluation.markdown(), pictures(evaluation))
    return evaluation


def _scores(
    ratings: Ratings, found: list[PairScores], options: Options
) -> dict[ColumnName, Floats]:
    columns = {
        (scores.name, column): scores.of(column, ratings.images, ratings.captions)
        for scores in found
        for column in wanted_columns(scores, options)
    }
    return columns | {(GIVEN, name): values for name, values in ratings.given.items()}


def _write_judgments(ratings: Ratings, scores: dict[ColumnName, Floats], out: str) -> None:
    """Write each judgment with its scores, so that outliers can be inspected."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {
        **ratings.labels,
        "image": ratings.images,
        "caption": ratings.captions,
        "rating": ratings.ratings,
    }
    arrays = {name: pa.array(values) for name, values in table.items()}
    for (scorer, column), values in scores.items():
        arrays[f"{scorer}/{column}"] = pa.array(np.asarray(values), from_pandas=True)
    folder = Folder(out)
    folder.create()
    with folder.atomic("judgments.parquet") as file:
        written = pa.table(arrays).replace_schema_metadata({OUTPUT_KEY: b"judgments"})
        pq.write_table(written, file, compression="zstd")
