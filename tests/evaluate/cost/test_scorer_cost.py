"""What a scorer costs, from its timings."""

from __future__ import annotations

import pytest

from pairsift.evaluate.cost.bench import Memory, Timing
from pairsift.evaluate.cost.scorer_cost import ScorerCost


def _scorer(name: str, seconds: list[tuple[float, float]], gpu: bool = False) -> ScorerCost:
    timings = [Timing(prepare, score, prepare + score) for prepare, score in seconds]
    memory = Memory(500.0, 2000.0 if gpu else None)
    return ScorerCost(name, False, 10, timings, 3e9, 100e9, memory, "float32")


def test_rates_are_medians_and_ratios_are_taken_round_by_round() -> None:
    # The machine is half as fast in the second round and rests in the third.
    slow = _scorer("slow", [(1, 9), (2, 18), (0.5, 4.5)])
    fast = _scorer("fast", [(0.5, 0.5), (1, 1), (0.25, 0.25)])
    assert slow.rate.value == 1
    assert slow.rate.ends == (0.5, 2)
    assert fast.times(slow).value == 10
    assert fast.times(slow).ends == (10, 10)
    assert slow.prepare_ms.value == 100
    assert slow.score_ms.value == 900
    # 3 GFLOP in 0.9 s, of 100 a second.
    assert slow.of_peak == pytest.approx(3 / 0.9 / 100)


def test_a_gpu_is_fed_by_other_cores() -> None:
    timings = [(4.0, 1.0)]
    on_cpu, on_gpu = _scorer("a", timings), _scorer("a", timings, gpu=True)
    assert on_cpu.device_rate == 2
    assert on_cpu.cores_to_feed is None
    assert on_gpu.device_rate == 10
    assert on_gpu.cores_to_feed == 4
