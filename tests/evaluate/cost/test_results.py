"""Tables and notes of the costs."""

from __future__ import annotations

from pairsift.evaluate.cost.bench import Memory, Timing
from pairsift.evaluate.cost.results import Cost
from pairsift.evaluate.cost.scorer_cost import ScorerCost


def _scorer(name: str, seconds: list[tuple[float, float]], gpu: bool = False) -> ScorerCost:
    timings = [Timing(prepare, score, prepare + score) for prepare, score in seconds]
    memory = Memory(500.0, 2000.0 if gpu else None)
    return ScorerCost(name, False, 10, timings, 3e9, 100e9, memory, "float32")


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
