"""How far a share that was counted on a sample may be from the true one."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

_HALVINGS = 60


@cache
def binomial_bounds(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a probability of which `hits` of `trials` came true.

    It covers the true value with at least the confidence, also where all came true or none. SciPy
    has it too; this needs none, so that whoever selects and scores does not either.
    """
    tail = (1 - confidence) / 2
    return _lower(hits, trials, tail), 1 - _lower(trials - hits, trials, tail)


def _lower(hits: int, trials: int, tail: float) -> float:
    """The probability with which `hits` or more come true just so seldom."""
    if hits == 0:
        return 0.0
    many = hits > trials / 2  # sum the side that has fewer terms
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
