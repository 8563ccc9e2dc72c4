"""Which columns and slices are drawn."""

from __future__ import annotations

from typing import Any

import pytest

from pairsift.evaluate.plot import draw, draw_slices, pictures
from pairsift.evaluate.results import ColumnResult, Estimate, Evaluation, SliceResult
from pairsift.evaluate.statistics import Interval

pytest.importorskip("matplotlib")

NAN = float("nan")


def _column(name: str, value: float) -> ColumnResult:
    return ColumnResult(
        "s", name, 9, {"tau_b": Estimate(value, Interval(value - 0.1, value + 0.1))}
    )


def _evaluation(*columns: ColumnResult, **more: Any) -> Evaluation:
    return Evaluation("Agreement", "tau_b", 9, 9, list(columns), **more)


def _texts(svg: bytes | None) -> str:
    assert svg is not None
    return svg.decode()


@pytest.mark.slow
def test_every_column_with_a_number_is_drawn() -> None:
    svg = _texts(
        draw(_evaluation(_column("itm", 0.5), _column("none", NAN), _column("odf", 0.123)))
    )
    for words in ("s itm", "s odf", "12.3", "50.0", "Kendall tau-b x 100", "Agreement"):
        assert f"<!-- {words} -->" in svg
    assert "s none" not in svg


def test_there_is_no_plot_of_nothing() -> None:
    assert draw(_evaluation()) is None
    assert draw(_evaluation(_column("none", NAN))) is None
    assert pictures(_evaluation()) == {}
    assert draw_slices(_evaluation(_column("itm", 0.5)), "language") is None


def test_each_column_of_slices_is_a_plot_with_a_panel_for_each_score() -> None:
    columns = [_column("a", 0.5), _column("b", 0.2)]
    parts = [
        SliceResult("domain+language", "news / de", 1200, 30, columns),
        SliceResult("domain+language", "rare", 2, 1, []),
        SliceResult("domain+language", "art / de", 90, 20, [_column("a", NAN), _column("b", 0.1)],
                    {"s": 1.0}),
        SliceResult("language", "de", 2, 1, []),
    ]  # fmt: skip
    evaluation = _evaluation(*columns, slices=parts)
    found = pictures(evaluation)
    assert list(found) == ["plot.svg", "plot-by-domain-language.svg"]
    svg = _texts(found["plot-by-domain-language.svg"])
    for words in ("news / de (1,200)", "art / de (90)", "s a", "s b"):
        assert f"<!-- {words} -->" in svg
    assert "rare" not in svg
    assert svg.count("#999999") >= 1  # out of the scorer's scope
