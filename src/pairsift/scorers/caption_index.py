"""Rows of several captions of each sample, with which of them they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pairsift.pair import Pair, Status
from pairsift.scorers.base import Columns, Prepared, Scorer
from pairsift.scorers.wrapped import WrappedPreparer, Wrapper

CAPTION_INDEX = "caption_index"
COLUMNS = (pa.field(CAPTION_INDEX, pa.int16()),)
SEVERAL = {"captions": "several"}
"""what the fingerprint of such rows has"""


@dataclass(frozen=True, slots=True)
class _IndexingPreparer(WrappedPreparer):
    """Preprocesses pairs for a scorer and keeps the caption's index."""

    def __call__(self, pair: Pair) -> Prepared:
        row = self.prepare(pair)
        if row.status is Status.OK:
            row.inputs = (row.inputs, pair.caption_index or 0)
        return row


class CaptionIndexer(Wrapper):
    """A scorer with one more column, ``caption_index``: which of a sample's captions, from 0.

    Args:
        scorer: its scores do not change.
    """

    name: ClassVar[str] = "caption-indexer"

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer)
        self.columns = (*COLUMNS, *scorer.columns)
        self.preparer = _IndexingPreparer(scorer.preparer)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {**self.scorer.fingerprint, **SEVERAL}

    def collate(self, inputs: Sequence[tuple[Any, int]]) -> Any:
        return self.scorer.collate(self.inner(inputs)), [index for _, index in inputs]

    def start(self, collated: Any) -> Callable[[], Columns]:
        own, indices = collated
        fetch = self.scorer.start(own)
        return lambda: {**fetch(), CAPTION_INDEX: np.array(indices)}
