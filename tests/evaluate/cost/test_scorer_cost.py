"""What a scorer costs, from its timings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pairsift.evaluate.cost.scorer_cost import spread
from tests.evaluate.cost.test_results import scorer_cost


def test_rates_are_medians_and_ratios_are_taken_round_by_round() -> None:
    # The machine is half as fast in the second round and rests in the third.
    slow = scorer_cost("slow", [(1, 9), (2, 18), (0.5, 4.5)])
    fast = scorer_cost("fast", [(0.5, 0.5), (1, 1), (0.25, 0.25)])
    assert slow.rate.value == 1
    assert slow.rate.ends == (0.5, 2)
    assert fast.times(slow).value == 10
    assert fast.times(slow).ends == (10, 10)
    assert slow.prepare_ms.value == 100
    assert slow.score_ms.value == 900
    # 3 GFLOP in 0.9 s, of 100 a second.
    assert slow.of_peak == pytest.approx(3 / 0.9 / 100)


def test_on_a_gpu_forward_alone_counts_and_the_cores_to_feed_it_are_told() -> None:
    timings = [(4.0, 1.0)]
    on_cpu, on_gpu = scorer_cost("a", timings), scorer_cost("a", timings, gpu=True)
    assert on_cpu.device_rate == 2
    assert on_cpu.cores_to_feed is None
    assert on_gpu.device_rate == 10
    assert on_gpu.cores_to_feed == 4


def test_the_median_and_the_range_of_values() -> None:
    found = spread(iter([3.0, 1.0, 10.0]))
    assert (found.value, found.ends) == (3.0, (1.0, 10.0))
    assert spread([2.0]).ends == (2.0, 2.0)


def test_what_was_not_measured_is_none() -> None:
    light = replace(scorer_cost("light", [(1, 1)]), flops=0)
    assert light.of_peak is None
    assert replace(light, flops=1e9, peak=None).of_peak is None
    content = replace(light, peak=None).to_json()
    assert content["matmul_peak_gflops"] is content["peak_device_memory_mib"] is None
    assert content["gflop_per_pair"] == 0
