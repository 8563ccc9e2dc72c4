"""Tables and notes of the costs."""

from __future__ import annotations

import json
from dataclasses import replace

from pairsift.evaluate.cost.bench import Memory, Timing
from pairsift.evaluate.cost.projection import POOLS
from pairsift.evaluate.cost.results import Cost
from pairsift.evaluate.cost.scorer_cost import ScorerCost


def scorer_cost(name: str, seconds: list[tuple[float, float]], gpu: bool = False) -> ScorerCost:
    timings = [Timing(prepare, score, prepare + score) for prepare, score in seconds]
    memory = Memory(500.0, 2000.0 if gpu else None)
    return ScorerCost(name, False, 10, timings, 3e9, 100e9, memory, "float32")


def cost(*scorers: ScorerCost, price: float | None = None) -> Cost:
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


def test_tables_show_costs_and_list_their_assumptions() -> None:
    page = cost(scorer_cost("a|b", [(1, 1)] * 3), price=0.5).markdown()
    assert "| a\\|b | 5.00 [5.00, 5.00] | 1.00 [1.00, 1.00] | 100 | 100 |" in page
    # 12.8 million pairs at 5 a second are 711.1 device hours: on 4 devices 7.41 days.
    assert "| 7.41 days, 356 |" in page
    assert "on 4 devices, and cost at 0.5 a device and hour" in page
    assert "proportional to the number of pairs" in page
    assert "mlm (it needs a checkpoint)" in page
    assert "busy" not in page


def test_a_busy_machine_is_told() -> None:
    disturbed = ScorerCost("a", False, 10, [Timing(1, 9, 5)], 0, None, Memory(1, None))
    assert any("busy: scorers got 50% of a core" in note for note in cost(disturbed).notes())


def test_a_gpu_has_columns_of_its_own_and_dtypes_are_named_where_they_differ() -> None:
    on_gpu = scorer_cost("a", [(4.0, 1.0)], gpu=True)
    header, rows = cost(on_gpu, replace(on_gpu, name="b", dtype="bfloat16")).header_and_rows()
    assert header == [
        "scorer", "dtype", "pairs/s", "times a", "preprocess, ms", "forward, ms",
        "cores to feed it", "GFLOP a pair", "of peak", "memory, MiB", "on the GPU",
    ]  # fmt: skip
    assert rows[1][:2] == ["b", "bfloat16"]
    assert (rows[0][6], rows[0][-1]) == ("4.00", "2,000")
    assert any("Each GPU" in line or "each GPU" in line for line in cost(on_gpu).assumptions())


def test_a_scorer_without_a_model_has_dashes_and_random_weights_are_told() -> None:
    light = replace(
        scorer_cost("light", [(1, 1)]), flops=0, peak=None, dtype=None, random_weights=True
    )
    made = cost(light)
    header, (row,) = made.header_and_rows()
    assert dict(zip(header, row, strict=True)) == {
        "scorer": "light (random)", "pairs/s": "5.00 [5.00, 5.00]",
        "times light": "1.00 [1.00, 1.00]", "preprocess, ms": "100", "forward, ms": "100",
        "GFLOP a pair": "-", "of peak": "-", "memory, MiB": "500",
    }  # fmt: skip
    assert any(note.startswith("(random): random weights") for note in made.notes())


def test_json_compares_each_scorer_with_the_baseline() -> None:
    made = cost(scorer_cost("a", [(1, 1)] * 3), scorer_cost("b", [(0.25, 0.25)] * 3))
    content = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert [each["times_baseline"]["value"] for each in content["scorers"]] == [1, 4]
    assert content["scorers"][0]["gflop_per_pair"] == 3
    assert content["scorers"][0]["matmul_peak_gflops"] == 100
    assert len(content["scorers"][0]["seconds_by_round"]) == 3
    assert content["price_per_hour"] is None
    assert [p["pairs"] for p in content["scorers"][1]["projections"]] == list(POOLS)
    assert made.projection_title == "Projected time on 4 devices"
    assert replace(made, devices=1, price=2.5).projection_title == (
        "Projected time on one device, and cost at 2.5 a device and hour"
    )
