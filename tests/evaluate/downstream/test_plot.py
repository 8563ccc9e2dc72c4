"""The plot of a comparison of filters."""

from __future__ import annotations

import pytest

from pairsift.evaluate.downstream.plot import pictures
from pairsift.evaluate.downstream.results import Downstream, FilterResult
from pairsift.evaluate.results import Estimate
from pairsift.evaluate.statistics import Interval

pytest.importorskip("matplotlib")


def _result(name: str, keep: float, **scores: float) -> FilterResult:
    found = {each: Estimate(v, Interval(v - 0.1, v + 0.1)) for each, v in scores.items()}
    return FilterResult(name, keep, 10, found, {}, {}, {})


def test_each_filter_is_a_row_and_each_headline_a_panel() -> None:
    results = [
        _result("none", 1.0, retrieval=0.25, classification=0.5, pets=0.5),
        _result("tiny $itm$", 0.3, retrieval=0.35, classification=0.625, pets=0.6),
    ]
    found = pictures(Downstream(results, 10, 1))
    assert list(found) == ["plot.svg"]
    svg = found["plot.svg"].decode()
    for words in ("none, 100 %", "tiny $itm$, 30 %", "retrieval x 100", "62.5", "25.0"):
        assert f"<!-- {words} -->" in svg
    assert "classification x 100" in svg
    assert "pets" not in svg


def test_there_is_no_plot_without_a_headline() -> None:
    assert pictures(Downstream([], 0, 1)) == {}
    assert pictures(Downstream([_result("none", 1.0, pets=0.5)], 10, 1)) == {}
