"""Rows of several captions of each sample, with which of them they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pairsift.images import ImageLimits
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Columns, DeviceScorer, Prepared, Scorer

CAPTION_INDEX = "caption_index"
COLUMNS = (pa.field(CAPTION_INDEX, pa.int16()),)


@dataclass(frozen=True, slots=True)
class _IndexingPreparer:
    """Preprocesses pairs for a scorer and keeps the caption's index."""

    prepare: Callable[[Pair], Prepared]

    def __call__(self, pair: Pair) -> Prepared:
        row = self.prepare(pair)
        if row.status is Status.OK:
            row.inputs = (row.inputs, pair.caption_index or 0)
        return row

    def limited(self, limits: ImageLimits) -> _IndexingPreparer:
        """One with other limits, if the scorer's has any."""
        if hasattr(self.prepare, "limited"):
            return replace(self, prepare=self.prepare.limited(limits))
        return self


class CaptionIndexer(DeviceScorer):
    """A scorer with one more column, ``caption_index``: which of a sample's captions, from 0.

    Args:
        scorer: its scores do not change.
    """

    name: ClassVar[str] = "caption-indexer"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.columns = (*COLUMNS, *scorer.columns)
        self.preparer = _IndexingPreparer(scorer.preparer)
        self.batch_size = scorer.batch_size
        self.scope = scorer.scope

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {**self.scorer.fingerprint, "captions": "several"}

    def cost(self, inputs: tuple[Any, int]) -> int:
        return self.scorer.cost(inputs[0])

    def order(self, inputs: Sequence[tuple[Any, int]]) -> list[int]:
        return self.scorer.order([theirs for theirs, _ in inputs])

    def novelty(self, inputs: Sequence[tuple[Any, int]]) -> np.ndarray | None:
        return self.scorer.novelty([own for own, _ in inputs])

    def collate(self, inputs: Sequence[tuple[Any, int]]) -> Any:
        return self.scorer.collate([own for own, _ in inputs]), [index for _, index in inputs]

    def start(self, collated: Any) -> Callable[[], Columns]:
        own, indices = collated
        fetch = self.scorer.start(own)
        return lambda: {**fetch(), CAPTION_INDEX: np.array(indices)}
