"""Arithmetic of the projection, and of what a scorer costs."""

from __future__ import annotations

import pytest

from pairsift.evaluate.cost.bench import Memory, Timing
from pairsift.evaluate.cost.projection import POOLS, count, duration, project, significant
from pairsift.evaluate.cost.results import Cost
from pairsift.evaluate.cost.scorer_cost import ScorerCost


def test_twice_the_devices_take_half_the_time_for_the_same_money() -> None:
    one, two = (project(100.0, devices, price=2.5) for devices in (1, 2))
    assert [found.pairs for found in one] == list(POOLS)
    assert one[0].seconds == 128_000
    for alone, together in zip(one, two, strict=True):
        assert together.seconds == alone.seconds / 2
        assert together.device_hours == alone.device_hours == alone.pairs / 100 / 3600
        assert together.cost == alone.cost == pytest.approx(alone.device_hours * 2.5)
    assert all(found.cost is None for found in project(100.0, 1))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.500 s"),
        (119, "119 s"),
        (3600, "60.0 min"),
        (7200, "2.00 h"),
        (86_400, "24.0 h"),
        (30 * 86_400, "30.0 days"),
        (3 * 365 * 86_400, "3.00 years"),
    ],
)
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_have_three_digits() -> None:
    assert [significant(value) for value in (0.1234, 1.2, 12.34, 99.96, 123.4, 12_345)] == [
        "0.123",
        "1.20",
        "12.3",
        "100",
        "123",
        "12,345",
    ]
    assert [count(pairs) for pairs in POOLS] == ["12.8M", "128M", "1.28B", "12.8B"]


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


def _cost(*scorers: ScorerCost, price: float | None = None) -> Cost:
    facts = {
        "pairs": 10,
        "rounds": 3,
        "captions_per_image": 1,
        "source": "photographs",
        "digest": "sha256:0",
        "mean_image_kb": 50.0,
        "mean_caption_characters": 60.0,
        "device": "a processor",
        "threads": 1,
        "cores": 2,
        "matmul_peak_gflops": {"float32": 100.0},
        "date": "2026-11-23T00:00:00+00:00",
    }
    left_out = {"mlm": "it needs a checkpoint"}
    return Cost(scorers, scorers[0].name, 4, price, left_out, facts)


def test_tables_tell_cost_and_what_they_take_for_granted() -> None:
    page = _cost(_scorer("a|b", [(1, 1)] * 3), price=0.5).markdown()
    assert "| a\\|b | 5.00 [5.00, 5.00] | 1.00 [1.00, 1.00] | 100 | 100 |" in page
    # 12.8 million pairs at 5 a second are 711.1 device hours: on 4 devices 7.41 days.
    assert "| 7.41 days, 356 |" in page
    assert "on 4 devices, and cost at 0.5 a device and hour" in page
    assert "proportional to the number of pairs" in page
    assert "mlm (it needs a checkpoint)" in page
    assert "busy" not in page


def test_a_busy_machine_is_told() -> None:
    disturbed = ScorerCost("a", False, 10, [Timing(1, 9, 5)], 0, None, Memory(1, None))
    assert any("busy: scorers got 50% of a core" in note for note in _cost(disturbed).notes())
