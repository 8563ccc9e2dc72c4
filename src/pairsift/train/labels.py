"""A teacher's score as a distribution over 0..100 that a model can be taught."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pairsift.metrics import MAX_SCORE, MIN_SCORE

_NUMBERS = np.arange(MIN_SCORE, MAX_SCORE + 1, dtype=np.float64)
# e^-60 is nothing beside 1: with it, all the mass is at an end of the scale.
_STEEPEST = 60.0
_HALVINGS = 60


def soft_labels(scores: NDArray[np.floating], std: float) -> NDArray[np.float32]:
    """Normal distributions on the scale whose *means* are the scores.

    Cutting a normal distribution off at the ends of the scale moves its mean inwards, and a model
    taught so would never say 0 or 100. So it is tilted (times e^(t·k)) until the mean is right.

    Args:
        scores: (n,), 0..100.
        std: in points, before the cut; 0 puts all on the two nearest integers.

    Returns:
        (n, 101) float32; rows sum to 1.
    """
    scores = np.clip(np.asarray(scores, np.float64), MIN_SCORE, MAX_SCORE)[:, None]
    if std <= 0:
        near = np.maximum(0.0, 1.0 - np.abs(_NUMBERS - scores))
        return np.asarray(near / near.sum(1, keepdims=True), np.float32)
    shape = -((_NUMBERS - scores) ** 2) / (2 * std**2)
    low, high = np.full_like(scores, -_STEEPEST), np.full_like(scores, _STEEPEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _normalised(shape + middle * _NUMBERS) @ _NUMBERS > scores[:, 0]
        high = np.where(above[:, None], middle, high)
        low = np.where(above[:, None], low, middle)
    labels: NDArray[np.float32] = _normalised(shape + (low + high) / 2 * _NUMBERS).astype(
        np.float32
    )
    return labels


def _normalised(log_mass: NDArray[np.float64]) -> NDArray[np.float64]:
    mass = np.exp(log_mass - log_mass.max(1, keepdims=True))
    normalised: NDArray[np.float64] = mass / mass.sum(1, keepdims=True)
    return normalised
