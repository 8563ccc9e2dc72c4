"""Batches that are halved until they fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pairsift.scorers.memory import FittingBatches


class Device:
    """A function on batches that has room for so many inputs."""

    def __init__(self, room: int, words: str = "CUDA out of memory. Tried to allocate") -> None:
        self.room = room
        self.words = words
        self.sizes: list[int] = []

    def __call__(self, batch: Sequence[int]) -> np.ndarray:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise RuntimeError(self.words)
        return np.array(batch) * 2


@pytest.mark.parametrize("room", [1, 3, 7, 16])
def test_results_are_the_same_whatever_fits(room: int) -> None:
    batches, device = FittingBatches(), Device(room)
    assert batches.run(device, range(16)).tolist() == [2 * value for value in range(16)]
    assert max(size for size in device.sizes[-2:]) <= room


def test_what_fitted_is_remembered() -> None:
    batches, device = FittingBatches(), Device(5)
    batches.run(device, range(16))
    assert batches.largest == 4
    device.sizes.clear()
    batches.run(device, range(8))
    assert device.sizes == [4, 4]


def test_a_cpu_that_is_out_of_memory_says_it_in_other_words() -> None:
    device = Device(2, "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
    assert FittingBatches().run(device, range(5)).tolist() == [0, 2, 4, 6, 8]


def test_one_input_that_is_too_much_is_told() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        FittingBatches().run(Device(0), range(4))


def test_other_errors_are_not_tried_again() -> None:
    device = Device(1, "shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        FittingBatches().run(device, range(4))
    assert device.sizes == [4]
