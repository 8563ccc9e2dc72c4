"""Pairs are read in an order that lets captions share their image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from pairsift import load_scorer
from pairsift.pair import Pair
from pairsift.scorers.mlm.tiny.encoded import order_by_image
from tests.samples import jpeg

IMAGES = [np.full((4, 4, 3), value, np.uint8) for value in range(4)]


def test_pairs_of_one_image_are_neighbours() -> None:
    shared = [IMAGES[place] for place in (0, 1, 0, 2, 1, 0)]
    assert order_by_image(shared, [9, 1, 3, 4, 2, 6]) == [1, 4, 3, 2, 5, 0]


def test_without_shared_images_cost_decides_and_equals_keep_their_place() -> None:
    assert order_by_image(IMAGES, [7, 2, 7, 1]) == [3, 1, 0, 2]
    assert order_by_image([], []) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairsift-tiny", "tiny-glance", "dual-encoder"])
def test_an_image_is_encoded_once_for_captions_of_any_length(name: str) -> None:
    scorer = load_scorer(name, device="cpu")
    images = (scorer.tiny if name == "tiny-glance" else scorer).images
    seen: list[int] = []
    encode = images.encode

    def counted(pixels):  # type: ignore[no-untyped-def]
        seen.append(len(pixels))
        return encode(pixels)

    images.encode = counted
    photos = [jpeg(300, 240, seed) for seed in range(3)]
    pairs = [
        Pair(f"{photo}-{words}", photos[photo], "a dog " * words)
        for words in range(1, 5)
        for photo in range(3)
    ]
    together = scorer.score(pairs, batch_size=4)
    assert seen == [1, 1, 1]
    assert together["key"].to_pylist() == [pair.key for pair in pairs]
