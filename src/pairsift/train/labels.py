"""A teacher's score as a distribution over a metric's answers to train on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The answers of a scale of 0 to 100, in points.
POINTS = np.arange(101, dtype=np.float64)
# e^-60 is negligible beside 1, so all the mass is at one end of the scale.
_STEEPEST = 60.0
_HALVINGS = 60


def soft_labels(
    scores: NDArray[np.floating], std: float, answers: NDArray[np.float64] = POINTS
) -> NDArray[np.float32]:
    """Return normal distributions on the scale whose *means* are the scores.

    Truncating a normal distribution at the ends of the scale moves its mean inwards, so a model
    trained on it would never give 0 or 100. So the distribution is tilted (multiplied by e^(t·k))
    until its mean is right.

    Args:
        scores: (n,) in points, 0..100.
        std: standard deviation in points, before truncation; 0 puts all mass on the two nearest
            answers.
        answers: (answers,) their values in points, ascending from 0 to 100.

    Returns:
        (n, answers) float32; rows sum to 1.
    """
    scores = np.clip(np.asarray(scores, np.float64), answers[0], answers[-1])[:, None]
    if std <= 0:
        corners = np.eye(len(answers))
        rows = [np.interp(scores[:, 0], answers, corner) for corner in corners]
        return np.stack(rows, axis=1).astype(np.float32)
    shape = -((answers - scores) ** 2) / (2 * std**2)
    low, high = np.full_like(scores, -_STEEPEST), np.full_like(scores, _STEEPEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _normalised(shape + middle * answers) @ answers > scores[:, 0]
        high = np.where(above[:, None], middle, high)
        low = np.where(above[:, None], low, middle)
    return _normalised(shape + (low + high) / 2 * answers).astype(np.float32)


def _normalised(log_mass: NDArray[np.float64]) -> NDArray[np.float64]:
    mass = np.exp(log_mass - log_mass.max(1, keepdims=True))
    normalised: NDArray[np.float64] = mass / mass.sum(1, keepdims=True)
    return normalised
