"""Explain one pair: its scores, their distributions, and what each metric asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import DEFAULT_SCALE, Better, Metric, Scale
from pairsift.pair import Pair
from pairsift.scorers.base import Scorer

BINS = 50
_BLOCKS = " ▁▂▃▄▅▆▇█"


@runtime_checkable
class Distributional(Protocol):
    """A scorer that can return the whole distribution behind its scores."""

    metrics: tuple[str, ...]

    def distributions(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, answers) probabilities of each metric's answers, which are in
        the order of their values and padded with 0.
        """


@runtime_checkable
class Articulate(Protocol):
    """A scorer whose model can answer in words."""

    def answers(self, pair: Pair) -> list[str]:
        """Return the full answer for each metric."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One metric of one pair.

    Attributes:
        score: expected value of the answer.
        top: value of the most likely answer.
        std: standard deviation of the distribution.
        probabilities: of the answers, in the order of their values.
        rationale: what the model wrote behind its answer, if it writes anything.
        values: what each answer is worth.
        answers: the answers as texts.
        better: which end of the scale is the good one: higher, lower or neither.
    """

    metric: str
    title: str
    asks: str
    score: float
    top: float
    std: float
    probabilities: tuple[float, ...]
    rationale: str | None = None
    values: tuple[float, ...] = DEFAULT_SCALE.values
    answers: tuple[str, ...] = ()
    better: Better = "higher"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self)

    def plot(self) -> str:
        """The distribution as one line of at most 50 blocks, the lowest answer on the left."""
        each = max(1, len(self.probabilities) // BINS)
        count = len(self.probabilities) // each
        heights = np.add.reduceat(np.array(self.probabilities), range(0, each * count, each))
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
    metrics = [scorer.described[name] for name in scorer.metrics]
    reasons: list[str | None] = [None] * len(metrics)
    if rationale and isinstance(scorer, Articulate):
        written = zip(metrics, scorer.answers(pair), strict=True)
        reasons = [behind_the_answer(text, metric.scale) for metric, text in written]
    return [
        _explain(metric, p[: len(metric.scale.answers)], reason)
        for metric, p, reason in zip(metrics, by_metric, reasons, strict=True)
    ]


def behind_the_answer(text: str, scale: Scale = DEFAULT_SCALE) -> str | None:
    """Return the words behind an answer at the beginning of a text; None if there are none."""
    number = r"\d+(?:\.\d+)?(?:\s*/\s*\d+)?" if scale.integers else None
    spelled = sorted((s.strip() for a in scale.answers for s in a.spellings), key=len, reverse=True)
    answer = number or "|".join(map(re.escape, spelled))
    rest = re.sub(rf"^\W*(?:{answer})", "", text).strip(" \n\t.:;,-")
    return rest if re.search(r"\w", rest) else None


def _explain(metric: Metric, p: np.ndarray, rationale: str | None) -> Explanation:
    values = np.array(metric.scale.values)
    mean = float(p @ values)
    top = float(values[p.argmax()])
    return Explanation(
        metric=metric.name,
        title=metric.title,
        asks=metric.asks,
        score=mean,
        top=int(top) if top.is_integer() else top,
        std=float(np.sqrt(p @ (values - mean) ** 2)),
        probabilities=tuple(float(value) for value in p),
        rationale=rationale,
        values=metric.scale.values,
        answers=tuple(answer.spellings[0] for answer in metric.scale.answers),
        better=metric.better,
    )
