"""The plot of the costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pairsift.evaluate.cost.plot import pictures
from pairsift.evaluate.cost.projection import significant
from tests.evaluate.cost.test_results import cost, scorer_cost

pytest.importorskip("matplotlib")


def test_a_scorer_without_a_model_has_no_point_for_its_operations() -> None:
    heavy, light = scorer_cost("heavy", [(1, 1)]), scorer_cost("light", [(0.5, 0)])
    light = replace(light, flops=0, memory=replace(light.memory, process=77.0))
    found = pictures(cost(heavy, replace(light, random_weights=True)))
    assert list(found) == ["plot.svg"]
    svg = found["plot.svg"].decode()
    for words in ("heavy", "light", "5.00", "20.0", "77.0", "500", "3.00", "memory, MiB"):
        assert f"<!-- {words} -->" in svg, words
    assert f"<!-- {significant(0)} -->" not in svg
