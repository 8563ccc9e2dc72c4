"""`evaluate pairs`: how often the right caption scores above a hard negative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Preferences
from pairsift.evaluate.mismatch import draw_wrong
from pairsift.evaluate.output import write_evaluation
from pairsift.evaluate.plot import pictures
from pairsift.evaluate.results import Evaluation
from pairsift.evaluate.run import (
    MISSING_IMAGE,
    Options,
    open_images,
    preference_results,
    score_all,
    scorer_facts,
)
from pairsift.evaluate.slices import read_labels, slice_values
from pairsift.evaluate.statistics import ACCURACY
from pairsift.progress import Listener
from pairsift.sources.columns import IMAGE_NAME_COLUMNS, find_column, match_column
from pairsift.sources.tables import read_rows

_RIGHT = ("right", "right_caption", "caption", "caption_right", "positive")
_WRONG = ("wrong", "wrong_caption", "negative_caption", "caption_wrong", "negative")
ALL = "all"
NO_WRONG = "no other caption in the slice"


def read_pairs(
    path: str,
    by: Sequence[str] = (),
    draw: bool = False,
    seed: int = 0,
    *,
    separator: str | None = None,
    encoding: str | None = None,
) -> Preferences:
    """Read a table with image, right caption, wrong caption and, optionally, `category`.

    Column names: image, right, wrong; or SugarCrepe's filename, caption, negative_caption.

    Args:
        by: columns to slice by.
        draw: whether to draw wrong captions by `seed`, because the table has none; each is drawn
            from the row's own slice (of all columns of `by` together).
        separator, encoding: of the table; detected if None.

    Raises:
        PairsiftError: a column is missing, a line cannot be read, or there is no row.
    """
    rows = read_rows(path, separator=separator, encoding=encoding)
    if not rows:
        raise PairsiftError(f"{path} holds no pairs")
    header = list(rows[0])
    image = find_column(header, IMAGE_NAME_COLUMNS, path, "image")
    right = find_column(header, _RIGHT, path, "right caption")
    category = match_column(header, ("category",), path)
    images = [str(row[image]) for row in rows]
    captions = [str(row[right] or "") for row in rows]
    labels = read_labels(rows, by, path)
    wrong: Sequence[str | None]
    if draw:
        together = slice_values(labels, "+".join(by)) if by else [ALL] * len(rows)
        wrong = draw_wrong(images, captions, together, seed)
    else:
        column = find_column(header, _WRONG, path, "wrong caption")
        wrong = [str(row[column] or "") for row in rows]
    preferences = Preferences(
        images,
        captions,
        [caption or "" for caption in wrong],
        np.ones(len(rows), np.float64),
        [str((row[category] if category else None) or ALL) for row in rows],
        labels=labels,
    )
    return preferences.keep(np.array([caption is not None for caption in wrong]), NO_WRONG)


def evaluate_pairs(
    path: str,
    out: str,
    options: Options,
    listener: Listener | None = None,
    *,
    by: Sequence[str] = (),
    draw: bool = False,
    separator: str | None = None,
    encoding: str | None = None,
) -> Evaluation:
    """Measure how often each score column prefers the right caption, and write the result to `out`.

    A tie counts one half. The share of ties is reported, so the strict accuracy of the literature
    is accuracy - ties/2.

    Args:
        by, draw, separator, encoding: see :func:`read_pairs`.

    Raises:
        PairsiftError: the table, the images or a scorer cannot be used.
    """
    preferences = read_pairs(path, by, draw, options.seed, separator=separator, encoding=encoding)
    store, there = open_images(preferences.images, options)
    preferences = preferences.keep(there, MISSING_IMAGE)
    found = score_all(preferences.pairs(), store, options, out, listener)
    columns, slices = preference_results(preferences, found, options, by)
    evaluation = Evaluation(
        title="Right caption against wrong caption",
        headline=ACCURACY,
        judgments=len(preferences),
        images=len(set(preferences.images)),
        columns=columns,
        left_out=preferences.left_out,
        settings={
            "pairs": path,
            "images": list(options.images),
            "resamples": options.resamples,
            "seed": options.seed,
            "by": list(by),
            "wrong_captions": "drawn" if draw else "given",
        },
        scorers=scorer_facts(found),
        slices=slices,
    )
    write_evaluation(out, evaluation.to_json(), evaluation.markdown(), pictures(evaluation))
    return evaluation
