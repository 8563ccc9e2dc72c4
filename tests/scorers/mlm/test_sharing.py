"""Which pairs of a batch are read behind a common beginning, and in which order they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pairsift.scorers.mlm.sharing import (
    each_alone,
    group_by_image,
    image_key,
    layout_of,
    order_by_key,
)


@dataclass
class Inputs:
    image_key: str
    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    image: Any = None


def inputs(key: str, caption: list[int], metrics: int = 2, image: int = 20) -> Inputs:
    """An image of some tokens, a caption, and a suffix for each metric."""
    prefix = np.array([900] * image + caption)
    return Inputs(key, prefix, tuple(np.array([700 + n]) for n in range(metrics)))


def test_every_row_is_read_once_and_its_tokens_are_kept() -> None:
    rng = np.random.default_rng(0)
    batch = [inputs(str(rng.integers(0, 4)), rng.integers(0, 5, 4).tolist()) for _ in range(12)]
    groups = group_by_image(batch)
    rows = [row for of_size in groups.values() for group in of_size for row in group.rows]
    assert sorted(rows) == list(range(12))
    for size, of_size in groups.items():
        for group in of_size:
            assert len(group.rows) == size
            assert len({batch[row].image_key for row in group.rows}) == 1
            read = [np.concatenate([group.prefix, suffix]) for suffix in group.suffixes]
            asked = [
                np.concatenate([batch[row].prefix, suffix])
                for row in group.rows
                for suffix in batch[row].suffixes
            ]
            assert all(map(np.array_equal, read, asked))


def test_sharing_is_left_where_it_costs_more() -> None:
    long = [inputs("a", [n] * 60, metrics=4) for n in range(2)]
    assert list(group_by_image(long)) == [1]  # 20 saved, 3 x 120 read again
    short = [inputs("a", [n], metrics=4) for n in range(2)]
    assert list(group_by_image(short)) == [2]


def test_groups_too_long_for_one_mask_are_read_one_after_another() -> None:
    few = group_by_image([inputs("a", [n]) for n in range(3)])[3]
    assert layout_of(few, 10, "looped") == "packed"
    assert layout_of(few, 400, "packed") == "looped"
    assert layout_of(each_alone([inputs("a", [1])]), 10**6, "packed") == "packed"


def test_order_keeps_images_together_and_goes_by_cost() -> None:
    keys, costs = ["a", "b", "a", "c", "b"], [9, 1, 5, 4, 3]
    assert order_by_key(keys, costs) == [1, 4, 3, 2, 0]
    assert order_by_key([], []) == []


@pytest.mark.parametrize(
    "other",
    [
        {"x": np.zeros((2, 3), np.float32)},
        {"x": np.zeros((3, 2), np.float16)},
        {"y": np.zeros((3, 2), np.float32)},
        {"x": np.ones((3, 2), np.float32)},
        {"x": [np.zeros(2)]},
    ],
)
def test_equal_images_alone_have_equal_keys(other: dict[str, Any]) -> None:
    one = {"x": np.zeros((3, 2), np.float32)}
    assert image_key(one) == image_key({"x": np.zeros((6, 2), np.float32)[::2]})
    assert image_key(one) != image_key(other)
