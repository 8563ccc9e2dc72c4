"""The headline statistic of every score column, with its interval, as one SVG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pairsift.evaluate.figures import RowFigure, plain, point
from pairsift.evaluate.statistics import ACCURACY

if TYPE_CHECKING:
    from pairsift.evaluate.results import Evaluation

_COLOURS = ("#2f6f9f", "#c8682b", "#4d8b4a", "#8a5a9e", "#a33b3b", "#6b6b6b")


def draw(evaluation: Evaluation) -> bytes | None:
    """SVG bytes; None where matplotlib is not installed or there is nothing to show."""
    from pairsift.evaluate.results import statistic_title

    shown = [
        column
        for column in evaluation.columns
        if math.isfinite(column.statistics[evaluation.headline].value)
    ]
    if not shown:
        return None
    try:
        figure = RowFigure([column.label for column in shown], panels=1, width=8)
    except ImportError:
        return None
    scorers = list(dict.fromkeys(column.scorer for column in shown))
    [axes] = figure.panels
    for row, column in enumerate(shown):
        estimate = column.statistics[evaluation.headline].scaled(100)
        colour = _COLOURS[scorers.index(column.scorer) % len(_COLOURS)]
        point(axes, row, estimate.value, estimate.ends, colour, f"{estimate.value:.1f}")
    axes.axvline(50 if evaluation.headline == ACCURACY else 0, color="#bbbbbb", linewidth=1)
    axes.set_xlabel(f"{statistic_title(evaluation.headline)} x 100")
    axes.set_title(plain(evaluation.title), loc="left")
    return figure.svg()
