"""A teacher's score as a distribution over 0..100 to train on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pairsift.metrics import MAX_SCORE, MIN_SCORE

_NUMBERS = np.arange(MIN_SCORE, MAX_SCORE + 1, dtype=np.float64)
# e^-60 is negligible beside 1, so all the mass is at one end of the scale.
_STEEPEST = 60.0
_HALVINGS = 60


def soft_labels(scores: NDArray[np.floating], std: float) -> NDArray[np.float32]:
    """Return normal distributions on the scale 0..100 whose *means* are the scores.

    Truncating a normal distribution at the ends of the scale moves its mean inwards, so a model
    trained on it would never give 0 or 100. So the distribution is tilted (multiplied by e^(t·k))
    until its mean is right.

    Args:
        scores: (n,), 0..100.
        std: standard deviation in points, before truncation; 0 puts all mass on the two nearest
            integers.

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
