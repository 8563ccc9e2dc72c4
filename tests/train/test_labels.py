"""Soft labels have the teacher's score as their mean, ends of the scale included."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.train.labels import soft_labels

NUMBERS = np.arange(101)
SCORES = np.array([0, 0.4, 1, 3.7, 17, 49.5, 50, 83.25, 97, 99.9, 100])


@pytest.mark.parametrize("std", [0, 0.5, 2, 5, 20])
def test_the_mean_is_the_score(std: float) -> None:
    labels = soft_labels(SCORES, std)
    assert labels.shape == (11, 101)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(labels @ NUMBERS, SCORES, atol=1e-3)


def test_far_from_the_ends_they_are_plain_normal_distributions() -> None:
    [label] = soft_labels(np.array([40.0]), 5.0)
    plain = np.exp(-((NUMBERS - 40.0) ** 2) / 50)
    np.testing.assert_allclose(label, plain / plain.sum(), atol=1e-6)


def test_without_spread_a_fraction_is_shared_by_its_neighbours() -> None:
    [label] = soft_labels(np.array([62.25]), 0)
    assert label[62] == pytest.approx(0.75)
    assert label[63] == pytest.approx(0.25)
    assert soft_labels(np.zeros(0), 5.0).shape == (0, 101)
