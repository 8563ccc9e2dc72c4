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

    def looking(self, look: Callable[[Any], Any]) -> WrappedPreparer | None:
        """Return a copy that looks at the decoded image, if the scorer's preparer has one."""
        inner = looking(self.prepare, look)
        return None if inner is None else replace(self, prepare=inner)


def looking(
    prepare: Callable[[Pair], Prepared], look: Callable[[Any], Any]
) -> Callable[[Pair], Prepared] | None:
    """Return a copy of a preparer that also looks at the decoded image; None if it has none.

    See :meth:`pairsift.scorers.base.Preparer.looking`.
    """
    found: Callable[[Pair], Prepared] | None = None
    if hasattr(prepare, "looking"):
        found = prepare.looking(look)
    return found


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
