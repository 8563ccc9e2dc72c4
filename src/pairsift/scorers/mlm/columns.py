"""The score table's columns of a multimodal scorer: four a metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pairsift.metrics import METRICS, Metric
from pairsift.scorers.mlm.trie import ScoreSummary
from pairsift.scores import metric_field


def score_columns(metrics: Sequence[Metric] = tuple(METRICS.values())) -> tuple[pa.Field, ...]:
    """Fields for metrics, by default those of the default prompt pack.

    ``itm`` float32 is the expected value of the answer, ``itm_top`` the value of the most likely
    answer (int16, or float32 where a value is no integer), ``itm_std`` float32 the standard
    deviation of the distribution, ``itm_validity`` float32 the probability 0..1 that the model
    gives one of the answers at all; likewise for the others. A metric whose answers are worth 0
    and 1 has ``text_p`` float32 too: the probability of the one worth 1 among all that the model
    may say, ``text`` times ``text_validity``, as VQAScore (arXiv 2404.01291) has it.
    ``caption_truncated`` tells that the model read only the beginning of the caption.
    """
    fields: list[pa.Field] = []
    for metric in metrics:
        fields += [
            metric_field(metric),
            pa.field(f"{metric.name}_top", _top_type(metric)),
            pa.field(f"{metric.name}_std", pa.float32()),
            pa.field(f"{metric.name}_validity", pa.float32()),
        ]
        if _is_chance(metric):
            fields.append(pa.field(f"{metric.name}_p", pa.float32()))
    return (*fields, pa.field("caption_truncated", pa.bool_()))


def _is_chance(metric: Metric) -> bool:
    return metric.scale.values == (0.0, 1.0)


def _top_type(metric: Metric) -> pa.DataType:
    fits = metric.scale.whole and max(-metric.scale.low, metric.scale.high) < 2**15
    return pa.int16() if fits else pa.float32()


def metric_columns(
    summary: ScoreSummary, metrics: Sequence[Metric], asked: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Return summaries of shape (pairs, metrics) as columns.

    Args:
        metrics: the metric of each column of the summary.
        asked: the metrics to keep; the others stay null.
    """
    columns = {}
    for index, metric in enumerate(metrics):
        name = metric.name
        if asked is not None and name not in asked:
            continue
        columns[name] = summary.expected[:, index]
        columns[f"{name}_top"] = summary.top[:, index]
        columns[f"{name}_std"] = summary.std[:, index]
        columns[f"{name}_validity"] = summary.validity[:, index]
        if _is_chance(metric):
            columns[f"{name}_p"] = summary.expected[:, index] * summary.validity[:, index]
    return columns
