"""The pool and the test sets as features, captions and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.evaluate.downstream.data import read_classes
from pairsift.evaluate.downstream.features import FeatureCache
from tests.evaluate.downstream.conftest import World


@pytest.mark.slow
def test_classes_are_sampled_the_same_way(world: World, tmp_path: Path) -> None:
    images, part = read_classes(str(world.classes), 10, 0, FeatureCache(str(tmp_path)))
    assert len(images.labels) == 10
    assert [images.classes[label] for label in images.labels] == part.texts
    again, _ = read_classes(str(world.classes), 10, 0, FeatureCache(str(tmp_path)))
    np.testing.assert_array_equal(again.labels, images.labels)
