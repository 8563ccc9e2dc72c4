"""The machine's speed and name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pairsift.evaluate.cost.machine import device_name, matmul_peak, seconds_of, torch_threads

CPU = torch.device("cpu")


def _clock(*times: float) -> Callable[[], float]:
    left = iter(times)
    return lambda: next(left)


def test_a_call_is_timed_from_its_begin_to_its_end() -> None:
    done: list[str] = []
    assert seconds_of(lambda: done.append("x"), CPU, _clock(10.0, 12.5)) == 2.5
    assert done == ["x"]


@pytest.mark.slow
def test_the_peak_is_that_of_the_best_of_ten_products() -> None:
    # Each takes two seconds; the fourth one.
    times = [2.0 * n for n in range(10)]
    ends = [begin + (1.0 if n == 3 else 2.0) for n, begin in enumerate(times)]
    clock = _clock(*[moment for pair in zip(times, ends, strict=True) for moment in pair])
    assert matmul_peak(CPU, torch.float32, clock) == 2 * 1024**3


def test_the_number_of_threads_is_set_back_also_after_an_error() -> None:
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), torch_threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_a_device_has_a_name_on_one_line() -> None:
    name = device_name(CPU)
    assert name == name.strip() != ""
    assert "\n" not in name
