"""A teacher on this machine: any scorer, usually a large multimodal model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairsift import moved
from pairsift.engines.named_pairs import score_pairs
from pairsift.errors import PairsiftError
from pairsift.progress import Listener
from pairsift.scorers.base import Scorer
from pairsift.sources.image_store import Images
from pairsift.teach.records import Record


def annotate_locally(
    records: Sequence[Record],
    images: Images,
    name: str,
    scorer: Scorer,
    cache: str,
    *,
    batch_size: int | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Fill in the scores of the records, in place; there are no rationales.

    Args:
        cache: folder whose `scores/` keeps the scores, so that a killed run can be resumed.

    Returns:
        facts for the records' metadata.

    Raises:
        PairsiftError: the scorer has no metrics.
    """
    metrics = list(scorer.described)
    if not metrics:
        raise PairsiftError(
            f"{name} cannot teach: its columns answer no question of a prompt pack; take "
            "pairsift-tiny or a multimodal model"
        )
    names = [record.image for record in records]
    captions = [record.caption for record in records]
    found = score_pairs(
        name,
        scorer,
        zip(names, captions, strict=True),
        images,
        cache,
        batch_size=batch_size,
        listener=listener,
    )
    columns = {metric: found.of(metric, names, captions) for metric in metrics}
    for index, record in enumerate(records):
        scores = {metric: float(values[index]) for metric, values in columns.items()}
        record.scores = {metric: value for metric, value in scores.items() if np.isfinite(value)}
        record.error = None if record.scores else "the scorer gave no score"
    return {"teacher": "local", "scorer": name, "fingerprint": found.fingerprint}


__getattr__ = moved.renamed(__name__, {"judge_locally": "pairsift.teach.local.annotate_locally"})
