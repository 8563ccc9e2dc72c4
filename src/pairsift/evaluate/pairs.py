"""`evaluate pairs`: does the right caption get the higher score than a hard negative?"""

from __future__ import annotations

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.compare import compare_preferences
from pairsift.evaluate.judgments import Preferences
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
from pairsift.evaluate.statistics import ACCURACY, ImageBootstrap
from pairsift.evaluate.tables import first_column, read_rows

_IMAGE = ("image", "image_file", "filename")
_RIGHT = ("right", "right_caption", "caption", "caption_right", "positive")
_WRONG = ("wrong", "wrong_caption", "negative_caption", "caption_wrong", "negative")
ALL = "all"


def read_pairs(path: str) -> Preferences:
    """Read a table of image, right caption, wrong caption and, if there, `category`.

    Column names: image, right, wrong; SugarCrepe's filename, caption, negative_caption do too.

    Raises:
        PairsiftError: a column is missing, or there is no row.
    """
    rows = read_rows(path)
    if not rows:
        raise PairsiftError(f"{path} holds no pairs")
    image, right, wrong = (first_column(rows[0], names, path) for names in (_IMAGE, _RIGHT, _WRONG))
    return Preferences(
        [str(row[image]) for row in rows],
        [str(row[right] or "") for row in rows],
        [str(row[wrong] or "") for row in rows],
        np.ones(len(rows), np.float64),
        [str(row.get("category") or ALL) for row in rows],
    )


def evaluate_pairs(
    path: str, out: str, options: Options, listener: ScoringListener | None = None
) -> Evaluation:
    """Measure how often each score column prefers the right caption, and write `out`.

    A tie counts one half; its share is reported, so that the strict accuracy of the literature is
    accuracy - ties/2.

    Raises:
        PairsiftError: the table, the images or a scorer cannot be used.
    """
    preferences = read_pairs(path)
    store, there = open_images(preferences.images, options)
    preferences = preferences.keep(there, MISSING_IMAGE)
    found = score_all(preferences.pairs(), store, options, out, listener or Silence())
    bootstrap = ImageBootstrap(preferences.images, options.resamples, options.seed)
    columns = {
        (scores.name, column): (
            scores.of(column, preferences.images, preferences.first),
            scores.of(column, preferences.images, preferences.second),
        )
        for scores in found
        for column in wanted_columns(scores, options)
    }
    evaluation = Evaluation(
        title="Right caption against wrong caption",
        headline=ACCURACY,
        judgments=len(preferences),
        images=bootstrap.images,
        columns=compare_preferences(preferences, columns, bootstrap),
        left_out=preferences.left_out,
        settings={
            "pairs": path,
            "images": list(options.images),
            "resamples": options.resamples,
            "seed": options.seed,
        },
        scorers=scorer_facts(found),
    )
    evaluation.write(out)
    return evaluation
