"""Score columns compared on the same resamples."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.evaluate.compare import compare_preferences
from pairsift.evaluate.judgments import Preferences
from pairsift.evaluate.statistics import (
    ImageBootstrap,
)

pytest.importorskip("scipy")


def test_a_category_on_few_images_has_no_interval() -> None:
    rng = np.random.default_rng(3)
    images = [f"{i}.jpg" for i in range(40)] + [f"{i}.jpg" for i in range(5)] * 20
    categories = ["many"] * 40 + ["few"] * 100
    preferences = Preferences(images, ["a"] * 140, ["b"] * 140, np.ones(140), categories)
    columns = {("s", "x"): (rng.normal(0.5, 1, 140), np.zeros(140))}
    columns["s", "y"] = (rng.normal(0.2, 1, 140), np.zeros(140))
    found = compare_preferences(preferences, columns, ImageBootstrap(images, 100))
    texts = {name: estimate.text() for name, estimate in found[0].statistics.items()}
    assert texts["accuracy/few"].endswith(" [too few]")
    assert "," in texts["accuracy/many"]
    assert "," in texts["accuracy"]
    gap = found[1].difference
    assert gap is not None
    assert gap.ends is not None
    assert gap.ends[0] < gap.value < gap.ends[1]
    without = compare_preferences(preferences, columns, ImageBootstrap(images, 0))
    assert "[" not in without[0].statistics["accuracy/few"].text()
