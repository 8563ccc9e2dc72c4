"""What scorers have in common that add columns to another one's, whose scores do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pairsift.images import ImageLimits
from pairsift.pair import Pair
from pairsift.scorers.base import DeviceScorer, Prepared, Scorer


@dataclass(frozen=True, slots=True)
class WrappedPreparer:
    """A base class for what preprocesses pairs for a scorer and for more columns. Picklable.

    Attributes:
        prepare: the scorer's preparer.
    """

    prepare: Callable[[Pair], Prepared]

    def limited(self, limits: ImageLimits) -> WrappedPreparer:
        """Return a copy with other limits, if the scorer's preparer has limits."""
        if hasattr(self.prepare, "limited"):
            return replace(self, prepare=self.prepare.limited(limits))
        return self


class Wrapper(DeviceScorer):
    """A base class for a scorer with more columns than `scorer`.

    A subclass sets `columns` and `preparer`. Its inputs are pairs: the scorer's own input, and what
    the further columns are made of.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.batch_size = scorer.batch_size
        self.scope = scorer.scope

    def inner(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the scorer's own inputs."""
        return [own for own, _ in inputs]

    def cost(self, inputs: Any) -> int:
        return self.scorer.cost(self.inner([inputs])[0])

    def order(self, inputs: Sequence[Any]) -> list[int]:
        return self.scorer.order(self.inner(inputs))

    def novelty(self, inputs: Sequence[Any]) -> np.ndarray | None:
        return self.scorer.novelty(self.inner(inputs))
