"""Plot the headline statistic of every score column, with its interval, as SVG."""

from __future__ import annotations

import math
import re
from typing import Any

from pairsift.evaluate.plotting import RowFigure, plain, point
from pairsift.evaluate.results import Evaluation, statistic_title
from pairsift.evaluate.statistics import chance_level

_COLOURS = ("#2f6f9f", "#c8682b", "#4d8b4a", "#8a5a9e", "#a33b3b", "#6b6b6b")
_OUTSIDE = "#999999"
_PANELS = 6


def pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """Return SVG by file name: ``plot.svg``, and one for each column of slices.

    Empty where matplotlib is not installed.
    """
    drawn = {"plot.svg": draw(evaluation)}
    for by in evaluation.slices_by():
        name = re.sub(r"[^A-Za-z0-9_]+", "-", by)
        drawn[f"plot-by-{name}.svg"] = draw_slices(evaluation, by)
    return {name: svg for name, svg in drawn.items() if svg is not None}


def draw(evaluation: Evaluation) -> bytes | None:
    """Return SVG bytes; None if matplotlib is not installed or there is nothing to show."""
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
    _finish(axes, evaluation, evaluation.title)
    return figure.svg()


def draw_slices(evaluation: Evaluation, by: str) -> bytes | None:
    """Draw a row per slice and a panel per score column; return SVG bytes, or None as `draw`.

    Grey rows: the scorer was not trained for any of the slice's languages.
    """
    parts = [part for part in evaluation.slices if part.by == by and part.columns]
    columns = [column.label for column in evaluation.columns][:_PANELS]
    if not parts or not columns:
        return None
    try:
        figure = RowFigure(
            [f"{part.value} ({part.judgments:,})" for part in parts],
            panels=len(columns),
            width=2 + 3 * len(columns),
        )
    except ImportError:
        return None
    for panel, (axes, label) in enumerate(zip(figure.panels, columns, strict=True)):
        for row, part in enumerate(parts):
            column = part.columns[panel]
            estimate = column.statistics[evaluation.headline].scaled(100)
            if not math.isfinite(estimate.value):
                continue
            outside = part.outside.get(column.scorer) == 1
            colour = _OUTSIDE if outside else _COLOURS[panel % len(_COLOURS)]
            point(axes, row, estimate.value, estimate.ends, colour, f"{estimate.value:.1f}")
        _finish(axes, evaluation, label)
    return figure.svg()


def _finish(axes: Any, evaluation: Evaluation, title: str) -> None:
    axes.axvline(100 * chance_level(evaluation.headline), color="#bbbbbb", linewidth=1)
    axes.set_xlabel(f"{statistic_title(evaluation.headline)} x 100")
    axes.set_title(plain(title), loc="left")
