"""Where a chart's bars, cells and ticks lie, against the numbers they show."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.metrics import METRICS
from pairsift.report.aggregate import Histogram
from pairsift.report.charts import compact, draw_histogram, draw_outlines, number
from pairsift.report.columns import metric_column

ITM = metric_column(METRICS["itm"])


def counts(seed: int, most: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most + 1, ITM.bars)


@pytest.mark.parametrize("most", [0, 1, 7, 99, 100, 12_345, 10**9])
def test_bars_are_as_high_as_their_counts(most: int) -> None:
    kept, dropped = counts(1, most), counts(2, most)
    chart = draw_histogram(Histogram(ITM, kept, dropped, 0))
    assert chart.tallest >= (kept + dropped).max()
    unit = chart.frame.inner_height / max(chart.tallest, 1)
    for bar, one, other in zip(chart.bars, kept, dropped, strict=True):
        assert (bar.kept, bar.dropped) == (one, other)
        assert bar.height == pytest.approx((one + other) * unit, abs=0.01)
        assert bar.kept_height == pytest.approx(one * unit, abs=0.01)
        assert bar.y + bar.height == pytest.approx(chart.frame.base, abs=0.02)
        assert chart.frame.top - 0.01 <= bar.y <= chart.frame.base
    lefts = [bar.x for bar in chart.bars]
    assert np.allclose(np.diff(lefts), chart.frame.inner_width / ITM.bars, atol=0.02)


@pytest.mark.parametrize("most", [0, 1, 7, 99, 12_345])
def test_ticks_are_round_and_reach_the_highest_bar(most: int) -> None:
    chart = draw_histogram(Histogram(ITM, counts(1, most), 0 * counts(1, 1), 0))
    assert 2 <= len(chart.up) <= 5
    assert chart.up[0].label == "0"
    assert chart.up[0].at == chart.frame.base
    assert chart.up[-1].at == pytest.approx(chart.frame.top)
    assert [tick.label for tick in chart.across][::5] == ["0", "100"]


def test_outlines_end_on_the_base_and_show_both_counts() -> None:
    first, second = counts(3, 50), counts(4, 50)
    chart = draw_outlines(ITM, first, second)
    tallest = max(first.max(), second.max())
    for path, numbers in ((chart.first, first), (chart.second, second)):
        heights = [float(step.partition("H")[0]) for step in path.split("V")[1:]]
        assert heights[-1] == chart.frame.base
        shown = chart.frame.base - np.array(heights[:-1])
        assert np.allclose(shown / shown.max(), numbers / numbers.max(), atol=0.02)
        assert shown.max() <= chart.frame.inner_height * numbers.max() / tallest + 0.1


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (1_234_567, "1.23M"), (2e9, "2G")]
)
def test_axis_numbers_are_short(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.1 + 0.2, "0.3"), (5.0, "5"), (-0.0, "0"), (123456.5, "123456.5")]
)
def test_edges_have_no_rounding_errors(value: float, text: str) -> None:
    assert number(value) == text
