"""Features of images, computed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pairsift.evaluate.downstream.features import FeatureCache, Sample, join_parts
from tests.evaluate.downstream.conftest import World


@pytest.mark.slow
def test_features_are_cached_and_bad_images_passed_over(world: World, tmp_path: Path) -> None:
    cache = FeatureCache(str(tmp_path))
    image = next(world.images.iterdir()).read_bytes()

    def samples() -> Iterator[Sample]:
        yield Sample("a", "one", image)
        yield Sample("b", "two", b"no image")
        yield Sample("c", "three", None)
        yield Sample("d", "four", image)

    part = cache.part("p", samples)
    assert part.image.tolist() == [0, -1, -1, 0]
    assert part.features.shape == (1, 1280)
    again = cache.part("p", lambda: pytest.fail("asked for again"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.features, part.features)
    assert (again.keys, again.texts, again.digests) == (part.keys, part.texts, part.digests)
    both = join_parts([part, again])
    assert both.image.tolist() == [0, -1, -1, 0] * 2
    assert len(both.features) == 1
