"""The headline statistic of every score column, with its interval, as one SVG."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from pairsift.evaluate.statistics import ACCURACY

if TYPE_CHECKING:
    from pairsift.evaluate.results import Evaluation

_COLOURS = ("#2f6f9f", "#c8682b", "#4d8b4a", "#8a5a9e", "#a33b3b", "#6b6b6b")


def draw(evaluation: Evaluation) -> bytes | None:
    """SVG bytes; None where matplotlib is not installed or there is nothing to show."""
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return None
    from pairsift.evaluate.results import statistic_title

    shown = [
        column
        for column in evaluation.columns
        if math.isfinite(column.statistics[evaluation.headline].value)
    ]
    if not shown:
        return None
    scorers = list(dict.fromkeys(column.scorer for column in shown))
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(shown)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for row, column in enumerate(shown):
        estimate = column.statistics[evaluation.headline]
        value = 100 * estimate.value
        colour = _COLOURS[scorers.index(column.scorer) % len(_COLOURS)]
        axes.plot(value, row, "o", color=colour)
        if estimate.interval:
            axes.plot(
                [100 * estimate.interval.low, 100 * estimate.interval.high],
                [row, row],
                color=colour,
                linewidth=2,
            )
        axes.annotate(f"{value:.1f}", (value, row), (0, 6), textcoords="offset points", ha="center")
    # Names come from paths and files: `$` would start a formula in matplotlib.
    labels = [column.label.replace("$", r"\$") for column in shown]
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.4, -0.8)
    axes.axvline(50 if evaluation.headline == ACCURACY else 0, color="#bbbbbb", linewidth=1)
    axes.set_xlabel(f"{statistic_title(evaluation.headline)} x 100")
    axes.set_title(evaluation.title.replace("$", r"\$"), loc="left")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()
