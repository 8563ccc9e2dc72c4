"""The geometry of the page's charts, which the template draws as inline SVG.

No chart library: the plots must work without JavaScript, follow the browser's colour scheme and
work with a screen reader. A library needs half a megabyte of JavaScript.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from pairsift.report.aggregate import Counts, Cube, Histogram
from pairsift.report.columns import ScoreColumn, tidy

SHADES = 5
"""Number of colours for the kept fraction in a joint plot, from none to all."""


class Tick(NamedTuple):
    at: float
    label: str


class Bar(NamedTuple):
    """One bar in view box units; the kept rows are drawn in front of all rows."""

    x: float
    width: float
    y: float
    height: float
    kept_y: float
    kept_height: float
    label: str
    kept: int
    dropped: int


class Cell(NamedTuple):
    """One filled cell; `place` numbers the plot's cells by column and then by row."""

    x: float
    y: float
    opacity: float
    shade: int
    label: str
    total: int
    kept: int
    place: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot area inside a view box."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def view_box(self) -> str:
        return f"0 0 {self.width:g} {self.height:g}"

    @property
    def inner_width(self) -> float:
        return self.width - self.left - self.right

    @property
    def inner_height(self) -> float:
        return self.height - self.top - self.bottom

    @property
    def base(self) -> float:
        return self.height - self.bottom


HISTOGRAM_FRAME = Frame(360, 176, left=40, top=10, right=12, bottom=22)
JOINT_FRAME = Frame(240, 228, left=44, top=8, right=10, bottom=34)


@dataclass(frozen=True, slots=True)
class HistogramChart:
    histogram: Histogram
    frame: Frame
    bars: list[Bar]
    across: list[Tick]
    up: list[Tick]
    tallest: int

    @property
    def column(self) -> ScoreColumn:
        return self.histogram.column


@dataclass(frozen=True, slots=True)
class JointChart:
    """One joint plot of the cube's columns `indices`, one across and one up."""

    indices: tuple[int, int]
    horizontal: ScoreColumn
    vertical: ScoreColumn
    frame: Frame
    cells: list[Cell]
    cell_width: float
    cell_height: float
    across: list[Tick]
    up: list[Tick]
    busiest: int


def draw_histogram(histogram: Histogram) -> HistogramChart:
    """Lay out one histogram: bars of all rows with the kept ones in front."""
    frame, column = HISTOGRAM_FRAME, histogram.column
    totals = histogram.kept + histogram.dropped
    tallest = int(totals.max(initial=0))
    grid = _grid(tallest)
    scale = frame.inner_height / max(grid[-1], 1)
    width = frame.inner_width / column.bars
    bars = []
    for index, (kept, total) in enumerate(zip(histogram.kept, totals, strict=True)):
        bars.append(
            Bar(
                round(frame.left + index * width + 0.5, 2),
                round(width - 1, 2),
                round(frame.base - total * scale, 2),
                round(total * scale, 2),
                round(frame.base - kept * scale, 2),
                round(kept * scale, 2),
                bar_label(column, index),
                int(kept),
                int(total - kept),
            )
        )
    up = [Tick(round(frame.base - value * scale, 2), compact(value)) for value in grid]
    across = _axis(column, frame.left, frame.inner_width, 5)
    return HistogramChart(histogram, frame, bars, across, up, grid[-1])


@dataclass(frozen=True, slots=True)
class OutlineChart:
    """Two histograms of one column, drawn as outlines."""

    column: ScoreColumn
    frame: Frame
    first: str
    second: str
    across: list[Tick]
    up: list[Tick]


def draw_outlines(column: ScoreColumn, first: Counts, second: Counts) -> OutlineChart:
    """Lay out two histograms as SVG paths."""
    frame = HISTOGRAM_FRAME
    grid = _grid(int(max(first.max(initial=0), second.max(initial=0))))
    scale = frame.inner_height / grid[-1]
    width = frame.inner_width / column.bars

    def path(counts: Counts) -> str:
        steps = "".join(
            f"V{frame.base - count * scale:.1f}H{frame.left + (bar + 1) * width:.1f}"
            for bar, count in enumerate(counts)
        )
        return f"M{frame.left:g} {frame.base:g}{steps}V{frame.base:g}"

    up = [Tick(round(frame.base - value * scale, 2), compact(value)) for value in grid]
    across = _axis(column, frame.left, frame.inner_width, 5)
    return OutlineChart(column, frame, path(first), path(second), across, up)


def draw_joint(cube: Cube, across: int, up: int) -> JointChart:
    """Lay out a joint plot: opacity is the (log) number of rows, colour the kept fraction."""
    frame = JOINT_FRAME
    horizontal, vertical = cube.columns[across], cube.columns[up]
    kept, dropped = cube.joint(across, up)
    totals = kept + dropped
    busiest = int(totals.max(initial=0))
    width, height = frame.inner_width / horizontal.bars, frame.inner_height / vertical.bars
    cells = []
    for i, j in zip(*totals.nonzero(), strict=True):
        total, inside = int(totals[i, j]), int(kept[i, j])
        cells.append(
            Cell(
                round(frame.left + i * width, 2),
                round(frame.base - (j + 1) * height, 2),
                round(0.15 + 0.85 * math.log1p(total) / math.log1p(busiest), 2),
                round(inside / total * (SHADES - 1)),
                f"{horizontal.name} {bar_label(horizontal, int(i))}, "
                f"{vertical.name} {bar_label(vertical, int(j))}",
                total,
                inside,
                int(i) * vertical.bars + int(j),
            )
        )
    return JointChart(
        (across, up),
        horizontal,
        vertical,
        frame,
        cells,
        round(width, 2),
        round(height, 2),
        _axis(horizontal, frame.left, frame.inner_width, 4),
        _axis(vertical, frame.base, -frame.inner_height, 4),
        busiest,
    )


def bar_label(column: ScoreColumn, index: int) -> str:
    """Return the interval of a bar, for tooltips and tables."""
    return f"{number(column.edge(index, 1))} to {number(column.edge(index + 1, 1))}"


def number(value: float) -> str:
    """Format a number without trailing zeros, and without an exponent in the usual range."""
    return f"{tidy(value):.10g}"


def compact(value: float) -> str:
    """Format 1234567 as 1.2M, for axes."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def _axis(column: ScoreColumn, start: float, length: float, intervals: int) -> list[Tick]:
    """Return ticks on bar edges, about `intervals` of them."""
    every = max(1, round(column.bars / intervals))
    return [
        Tick(round(start + length * bar / column.bars, 2), number(column.edge(bar, 1)))
        for bar in range(0, column.bars + 1, every)
    ]


def _grid(tallest: int) -> list[int]:
    """Return three or four round counts from 0 to at least the highest bar."""
    rough = max(tallest, 1) / 3
    power = 10.0 ** math.floor(math.log10(rough)) if rough >= 1 else 1.0
    step = next(int(f * power) for f in (1, 2, 3, 4, 5, 10) if f * power >= rough)
    return list(range(0, step * math.ceil(max(tallest, 1) / step) + 1, step))
