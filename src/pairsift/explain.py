"""Explain one pair: its scores, their distributions, and what each metric asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.pair import Pair
from pairsift.scorers.base import Scorer

BINS = 50
_BLOCKS = " ▁▂▃▄▅▆▇█"


@runtime_checkable
class Distributional(Protocol):
    """A scorer that can return the whole distribution behind its scores."""

    metrics: tuple[str, ...]

    def distributions(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, 101) probabilities of the scores 0..100."""


@runtime_checkable
class Articulate(Protocol):
    """A scorer whose model can answer in words."""

    def answers(self, pair: Pair) -> list[str]:
        """Return the full answer for each metric."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One metric of one pair.

    Attributes:
        score: expected score, 0..100.
        top: most likely integer.
        std: standard deviation of the distribution.
        probabilities: of the scores 0..100; 101 numbers.
        rationale: what the model wrote after the number; None if it wrote nothing.
    """

    metric: str
    title: str
    asks: str
    score: float
    top: int
    std: float
    probabilities: tuple[float, ...]
    rationale: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self)

    def plot(self) -> str:
        """Return the distribution as a line of blocks, two scores each, 0 on the left."""
        heights = np.add.reduceat(np.array(self.probabilities), range(0, 2 * BINS, 2))
        levels = np.ceil(heights / heights.max() * (len(_BLOCKS) - 1)).astype(int)
        # Values that round to 0 are blank; otherwise every plot would have a base line.
        levels[heights < 0.01 * heights.max()] = 0
        return "".join(_BLOCKS[level] for level in levels)


def explain(
    image: bytes, caption: str, scorer: Scorer, *, rationale: bool = True
) -> list[Explanation]:
    """Score one pair and return its distributions.

    Args:
        rationale: whether a model that answers in words continues after the number.

    Raises:
        PairsiftError: the scorer has no distributions, or the pair cannot be scored.
    """
    if not isinstance(scorer, Distributional):
        raise PairsiftError(
            f"scorer {scorer.name!r} returns only numbers; explain needs a scorer with "
            "distributions, such as pairsift-tiny"
        )
    pair = Pair("image", image, caption)
    [by_metric] = scorer.distributions([pair])
    reasons: list[str | None] = [None] * len(scorer.metrics)
    if rationale and isinstance(scorer, Articulate):
        reasons = [behind_the_number(answer) for answer in scorer.answers(pair)]
    return [
        _explain(name, p, reason)
        for name, p, reason in zip(scorer.metrics, by_metric, reasons, strict=True)
    ]


def behind_the_number(answer: str) -> str | None:
    """Return the words after an answer's leading number; None if there are none."""
    rest = re.sub(r"^\W*\d+(?:\.\d+)?(?:\s*/\s*100)?", "", answer).strip(" \n\t.:;,-")
    return rest if re.search(r"\w", rest) else None


def _explain(name: str, p: np.ndarray, rationale: str | None) -> Explanation:
    scores = np.arange(len(p))
    mean = float(p @ scores)
    return Explanation(
        metric=name,
        title=METRICS[name].title,
        asks=METRICS[name].asks,
        score=mean,
        top=int(p.argmax()),
        std=float(np.sqrt(p @ (scores - mean) ** 2)),
        probabilities=tuple(float(value) for value in p),
        rationale=rationale,
    )
