"""Wrong captions come from another image of the same slice."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.evaluate.mismatch import draw_wrong


@pytest.mark.parametrize("seed", range(5))
def test_every_row_gets_a_caption_of_another_image_in_its_slice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [f"{n}.jpg" for n in rng.integers(0, 40, 300)]
    slices = [str(n) for n in rng.integers(0, 4, 300)]
    captions = [f"{image} of {of}" for image, of in zip(images, slices, strict=True)]
    drawn = draw_wrong(images, captions, slices, seed)
    for image, of, wrong in zip(images, slices, drawn, strict=True):
        assert wrong is not None
        assert not wrong.startswith(f"{image} ")
        assert wrong.endswith(f" of {of}")
    assert drawn == draw_wrong(images, captions, slices, seed)
    assert drawn != draw_wrong(images, captions, slices, seed + 1)


def test_equal_wording_is_no_wrong_caption() -> None:
    captions = ["A dog", "a  DOG", "a dog ", "a cat"]
    drawn = draw_wrong(["1", "2", "3", "4"], captions, ["en"] * 4)
    assert drawn[:3] == ["a cat"] * 3
    assert drawn[3] in captions[:3]


def test_one_fitting_caption_among_thousands_is_found() -> None:
    captions = ["a dog"] * 5000 + ["a cat"]
    drawn = draw_wrong([str(n) for n in range(5001)], captions, ["en"] * 5001)
    assert set(drawn[:-1]) == {"a cat"}


def test_a_slice_of_one_image_has_none() -> None:
    assert draw_wrong(["1", "1", "2"], ["a", "b", "c"], ["x", "x", "y"]) == [None] * 3
    assert draw_wrong([], [], []) == []
