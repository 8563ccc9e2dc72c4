"""Plots of rows: the same bytes each time, whatever the names."""

from __future__ import annotations

import pytest

from pairsift.evaluate.plotting import RowFigure, plain, point

pytest.importorskip("matplotlib")


def _drawn(names: list[str], panels: int = 2) -> bytes:
    figure = RowFigure(names, panels, width=6)
    for axes in figure.panels:
        for row in range(len(names)):
            point(axes, row, float(row), (row - 0.5, row + 0.5) if row else None, "red", f"{row}.0")
    return figure.svg()


def test_equal_plots_are_equal_bytes() -> None:
    first = _drawn(["one", "two"])
    assert first.startswith(b"<?xml")
    assert _drawn(["one", "two"]) == first


@pytest.mark.parametrize("name", ["$flat$", "a $ b", "<b>&", "größe", "x_{1}^2", "\\frac"])
def test_any_name_is_drawn_as_it_is(name: str) -> None:
    svg = _drawn([name, "other"], panels=1)
    assert b"<svg" in svg
    assert len(RowFigure([name], 3, 6).panels) == 3


def test_a_dollar_starts_no_formula() -> None:
    assert plain("$a$ and $") == r"\$a\$ and \$"
