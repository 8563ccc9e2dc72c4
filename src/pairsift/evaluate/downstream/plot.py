"""Retrieval and classification of every filter, with their intervals, as one SVG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairsift.evaluate.downstream.results import Downstream

_OWN, _BASELINE = "#2f6f9f", "#8b8b8b"


def draw(comparison: Downstream) -> bytes | None:
    """SVG bytes; None where matplotlib is not installed or there is nothing to show."""
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return None
    from pairsift.evaluate.downstream.filters import NONE, ORACLE, RANDOM
    from pairsift.evaluate.downstream.results import HEADLINES

    shown = comparison.results
    names = [name for name in HEADLINES if shown and name in shown[0].scores]
    if not names:
        return None
    figure = Figure(figsize=(4.5 * len(names) + 2, 1.2 + 0.36 * len(shown)), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for row, result in enumerate(shown):
            estimate = result.scores[name]
            colour = _BASELINE if result.filter in (NONE, RANDOM, ORACLE) else _OWN
            value = 100 * estimate.value
            axes.plot(value, row, "o", color=colour)
            if estimate.interval:
                ends = [100 * estimate.interval.low, 100 * estimate.interval.high]
                axes.plot(ends, [row, row], color=colour, linewidth=2)
            axes.annotate(
                f"{value:.1f}", (value, row), (0, 6), textcoords="offset points", ha="center"
            )
            if result.filter == NONE:
                axes.axvline(value, color="#bbbbbb", linewidth=1, linestyle="--")
        axes.set_xlabel(f"{name} x 100")
        axes.grid(axis="x", color="#eeeeee")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    # Names come from paths: `$` would start a formula in matplotlib.
    labels = [f"{result.filter}, {100 * result.keep:g} %".replace("$", r"\$") for result in shown]
    panels[0].set_yticks(range(len(shown)), labels)
    panels[0].set_ylim(len(shown) - 0.4, -0.8)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()
