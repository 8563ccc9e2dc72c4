"""Plot retrieval and classification of every filter, with their intervals, as one SVG."""

from __future__ import annotations

from pairsift.evaluate.downstream.filters import NONE, ORACLE, RANDOM
from pairsift.evaluate.downstream.results import HEADLINES, Downstream
from pairsift.evaluate.plotting import RowFigure, point

_OWN, _BASELINE = "#2f6f9f", "#8b8b8b"


def pictures(comparison: Downstream) -> dict[str, bytes]:
    """Return SVG by file name; empty if matplotlib is not installed or there is nothing to show."""
    shown = comparison.results
    names = [name for name in HEADLINES if shown and name in shown[0].scores]
    if not names:
        return {}
    labels = [f"{result.filter}, {100 * result.keep:g} %" for result in shown]
    try:
        figure = RowFigure(labels, panels=len(names), width=4.5 * len(names) + 2)
    except ImportError:
        return {}
    for axes, name in zip(figure.panels, names, strict=True):
        for row, result in enumerate(shown):
            estimate = result.scores[name].scaled(100)
            colour = _BASELINE if result.filter in (NONE, RANDOM, ORACLE) else _OWN
            point(axes, row, estimate.value, estimate.ends, colour, f"{estimate.value:.1f}")
            if result.filter == NONE:
                axes.axvline(estimate.value, color="#bbbbbb", linewidth=1, linestyle="--")
        axes.set_xlabel(f"{name} x 100")
    return {"plot.svg": figure.svg()}
