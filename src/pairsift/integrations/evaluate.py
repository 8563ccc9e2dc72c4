"""Scores with the interface of Hugging Face's `evaluate`: add pairs, then compute.

For captioning and similar tasks: predictions are captions, references are their images. It needs
only Pairsift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairsift.errors import PairsiftError
from pairsift.integrations.scorers import ScorerLike, lazy_scorer, make_pair, number_columns
from pairsift.pair import Pair, Status


class PairsiftMetric:
    """Mean scores of captions (predictions) with images (references), in the style of `evaluate`.

    Args:
        scorer: name of a scorer, folder of a checkpoint, or a loaded scorer.
        columns: score column or columns to average. None for those of itm, odf, ctq and su that the
            scorer has; if it has none of them, all its number columns.
        batch_size: pairs per forward pass; None for the scorer's default.
        options: options of the scorer, as for :func:`pairsift.load_scorer`.

    Raises:
        PairsiftError: there is no such scorer or column.

    Examples:
        >>> metric = PairsiftMetric("heuristics", columns=["caption_words", "smaller_side"])
        >>> captions, images = ["a red square", "a square"], ["pool/a.png", "pool/b.png"]
        >>> metric.compute(predictions=captions, references=images)
        {'caption_words': 2.5, 'smaller_side': 200.0, 'pairs': 2, 'failures': {}}
    """

    name = "pairsift"

    def __init__(
        self,
        scorer: ScorerLike = "pairsift-tiny",
        *,
        columns: str | Iterable[str] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        self.scorer = lazy_scorer(scorer, **options).load()
        self.columns = number_columns(self.scorer, columns)
        self.batch_size = batch_size or self.scorer.batch_size
        self._waiting: list[Pair] = []
        self._tables: list[pa.Table] = []
        self._count = 0

    def add(self, *, prediction: str, reference: Any) -> None:
        """Add one pair; see :meth:`add_batch`."""
        self.add_batch(predictions=[prediction], references=[reference])

    def add_batch(self, *, predictions: Iterable[str], references: Iterable[Any]) -> None:
        """Add pairs. A batch is scored as soon as it is full, and its images are freed.

        Args:
            predictions: captions.
            references: images: paths, encoded bytes, PIL images, uint8 arrays (height, width, 3),
                or ``{"bytes": ..., "path": ...}``.

        Raises:
            PairsiftError: the numbers of predictions and references differ.
        """
        captions, images = list(predictions), list(references)
        if len(captions) != len(images):
            raise PairsiftError(
                f"{len(captions)} predictions and {len(images)} references; a caption and an "
                "image make a pair"
            )
        for caption, image in zip(captions, images, strict=True):
            self._waiting.append(make_pair(image, caption, str(self._count)))
            self._count += 1
            if len(self._waiting) >= self.batch_size:
                self._flush()

    def compute(
        self,
        *,
        predictions: Iterable[str] | None = None,
        references: Iterable[Any] | None = None,
        return_scores: bool = False,
    ) -> dict[str, Any]:
        """Average over all pairs that were added, and start again without any.

        Args:
            predictions, references: pairs to add first, as for :meth:`add_batch`; None for none.
            return_scores: return the scores of each pair too.

        Returns:
            the mean of each column over the pairs that have it (NaN if none has); ``pairs``, the
            number of pairs; ``failures``, the number of pairs without scores, by status. With
            `return_scores` also ``scores``: the pairs' values of each column in order, None for
            a failure.

        Raises:
            PairsiftError: only one of the two is given, they differ in number, or there are no
                pairs.
        """
        if (predictions is None) != (references is None):
            raise PairsiftError("give predictions (captions) and references (images) together")
        if predictions is not None and references is not None:
            self.add_batch(predictions=predictions, references=references)
        self._flush()
        if not self._tables:
            raise PairsiftError("there are no pairs to average; add some first")
        table = pa.concat_tables(self._tables)
        self._tables, self._count = [], 0
        statuses = Counter(table["status"].cast(pa.string()).to_pylist())
        del statuses[Status.OK.value]
        result: dict[str, Any] = {name: _mean(table[name]) for name in self.columns}
        result |= {"pairs": table.num_rows, "failures": dict(statuses)}
        if return_scores:
            result["scores"] = {name: table[name].to_pylist() for name in self.columns}
        return result

    def _flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            table = self.scorer.score(waiting, self.batch_size)
            self._tables.append(table.select(["status", *self.columns]))


def _mean(values: pa.ChunkedArray) -> float:
    mean = pc.mean(values.cast(pa.float64())).as_py()
    return float(np.nan) if mean is None else float(mean)
