"""Plot rate, operations and memory of every scorer as one SVG."""

from __future__ import annotations

from pairsift.evaluate.cost.projection import significant
from pairsift.evaluate.cost.results import Cost
from pairsift.evaluate.plotting import RowFigure, point

_REAL, _RANDOM = "#2f6f9f", "#8b8b8b"


def pictures(cost: Cost) -> dict[str, bytes]:
    """Return SVG by file name; empty if matplotlib is not installed."""
    names = [scorer.name for scorer in cost.scorers]
    try:
        figure = RowFigure(names, panels=3, width=12)
    except ImportError:
        return {}
    titles = ("pairs/s", "GFLOP a pair", "memory, MiB")
    for axes, title in zip(figure.panels, titles, strict=True):
        axes.set_xscale("log")
        axes.set_xlabel(title)
        axes.margins(x=0.15)
    for row, scorer in enumerate(cost.scorers):
        colour = _RANDOM if scorer.random_weights else _REAL
        rate = scorer.rate
        shown = [(rate.value, rate.ends), (scorer.flops / 1e9, None), (scorer.memory.process, None)]
        for axes, (value, ends) in zip(figure.panels, shown, strict=True):
            if (
                value > 0
            ):  # a scorer without a model has 0 FLOP, which a logarithmic axis cannot show
                point(axes, row, value, ends, colour, significant(value))
    return {"plot.svg": figure.svg()}
