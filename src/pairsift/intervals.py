"""Confidence intervals of a fraction that was counted on a sample."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

_HALVINGS = 60


@cache
def binomial_bounds(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of a probability with `hits` of `trials`.

    It covers the true value with at least the confidence, also if all or none are hits. SciPy has
    it too, but this way select and score do not need SciPy.
    """
    tail = (1 - confidence) / 2
    return _lower(hits, trials, tail), 1 - _lower(trials - hits, trials, tail)


def _lower(hits: int, trials: int, tail: float) -> float:
    """Return the probability at which `hits` or more become just unlikely enough."""
    if hits == 0:
        return 0.0
    many = hits > trials / 2  # sum the side with fewer terms
    terms = np.arange(hits, trials + 1) if many else np.arange(hits)
    log_gamma = np.array([math.lgamma(term + 1) for term in terms])
    log_gamma += [math.lgamma(trials - term + 1) for term in terms]
    ways = math.lgamma(trials + 1) - log_gamma
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        summed = float(np.exp(ways + terms * math.log(p) + (trials - terms) * math.log1p(-p)).sum())
        if (summed if many else 1 - summed) < tail:
            low = p
        else:
            high = p
    return (low + high) / 2
