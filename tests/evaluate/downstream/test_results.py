"""Means over seeds, and differences from the baselines."""

from __future__ import annotations

import pytest

from pairsift.evaluate.downstream.results import mean_over_seeds, summarise


def test_intervals_are_students_t() -> None:
    found = mean_over_seeds([0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.2)
    assert found.interval is not None
    # 4.3027 x 0.1 / sqrt(3)
    assert found.interval.high - 0.2 == pytest.approx(0.24841, abs=1e-4)
    assert mean_over_seeds([0.5]).interval is None


def test_differences_are_paired_by_seed() -> None:
    def run(name: str, keep: float, seed: int, value: float) -> dict[str, object]:
        scores = {"retrieval": value}
        return {
            "filter": name,
            "keep": keep,
            "seed": seed,
            "pairs": 3,
            "scores": scores,
            "quality": None,
        }

    runs = [run("none", 1.0, s, v) for s, v in enumerate((0.1, 0.5))]
    runs += [run("good", 0.3, s, v) for s, v in enumerate((0.2, 0.6))]
    good = summarise(runs)[1]
    found = good.minus["none"]["retrieval"]
    assert found.value == pytest.approx(0.1)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.1)
