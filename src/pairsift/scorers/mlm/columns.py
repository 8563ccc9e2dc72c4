"""The score columns of a multimodal scorer: four per metric, the same for every model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pairsift.metrics import METRICS
from pairsift.scorers.mlm.trie import ScoreSummary


def score_columns() -> tuple[pa.Field, ...]:
    """Return the fields of all four metrics, requested or not, so that all such score tables have
    them.

    ``itm`` float32 is the expected score 0..100, ``itm_top`` int16 the most likely integer,
    ``itm_std`` float32 the standard deviation of the distribution, ``itm_validity`` float32 the
    probability 0..1 that the model answers with a number of the scale; likewise for the others.
    ``caption_truncated`` is true if the model got only the beginning of the caption.
    """
    metrics = (
        field
        for name in METRICS
        for field in (
            pa.field(name, pa.float32()),
            pa.field(f"{name}_top", pa.int16()),
            pa.field(f"{name}_std", pa.float32()),
            pa.field(f"{name}_validity", pa.float32()),
        )
    )
    return (*metrics, pa.field("caption_truncated", pa.bool_()))


def metric_columns(
    summary: ScoreSummary, names: Sequence[str], asked: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Return summaries of shape (pairs, metrics) as columns.

    Args:
        names: the metric of each column of the summary.
        asked: the metrics to keep; the others stay null.
    """
    columns = {}
    for index, name in enumerate(names):
        if asked is not None and name not in asked:
            continue
        columns[name] = summary.expected[:, index]
        columns[f"{name}_top"] = summary.top[:, index]
        columns[f"{name}_std"] = summary.std[:, index]
        columns[f"{name}_validity"] = summary.validity[:, index]
    return columns
