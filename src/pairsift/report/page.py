"""Render the HTML page: one file that makes no network request, whatever the data."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from pairsift import __version__
from pairsift.report.aggregate import (
    Comparison,
    Cube,
    Failure,
    Histogram,
    PairCounts,
    SliceValue,
    Tally,
)
from pairsift.report.charts import JointChart, draw_histogram, draw_joint, draw_outlines, number
from pairsift.report.columns import FINE, ScoreColumn
from pairsift.report.galleries import SHOWN_COLUMNS, Gallery
from pairsift.report.pictures import Picture
from pairsift.report.scope import NULL_MEANS, ScopeNote
from pairsift.report.table import Details
from pairsift.report.text import printable, script_json

SHARDS_LISTED = 100
_MOST_DECIMALS = 5


class Reason(NamedTuple):
    """Why some rows are not kept: a failure status, or the selection."""

    name: str
    meaning: str
    pairs: int


class Share(NamedTuple):
    """A part of the bar at the top of the page, in percent."""

    name: str
    start: float
    width: float
    pairs: str


@dataclass(frozen=True, slots=True)
class Content:
    """Everything the page shows.

    Attributes:
        selected: whether a selection split the rows into kept and dropped.
        pairs: counts for two sliders at a time, where the cube's steps are coarser than theirs.
        start: slider positions of the selection's own cut, if there are any.
        histograms: of all score columns; the leading ones are the cube's, in its order.
        details, pictures: of the galleries' rows, by position.
        scope: what the scorer was trained for, if known.
        slices: slice column and its values.
        broken_shards: shard name, and why it could not be read to its end.
        changed_shards: shards that have changed since they were scored.
        run_facts: facts about the run, as name and value.
    """

    title: str
    selected: bool
    tally: Tally
    reasons: Sequence[Reason]
    cube: Cube | None
    pairs: PairCounts | None
    start: Sequence[int] | None
    histograms: Sequence[Histogram]
    columns: Sequence[ScoreColumn]
    comparison: Comparison | None
    galleries: Sequence[Gallery]
    details: Mapping[int, Details]
    pictures: Mapping[int, Picture]
    scope: ScopeNote | None
    slices: Sequence[tuple[str, Sequence[SliceValue]]]
    failures: Sequence[Failure]
    broken_shards: Sequence[tuple[str, str]]
    changed_shards: Sequence[tuple[str, str]]
    run_facts: Sequence[tuple[str, str]]


def render_page(content: Content) -> str:
    """Render the whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        printable=printable, percent=percent, score=format_score, share=share_of_range
    )
    style, script = _asset("report.css"), _asset("report.js")
    tally = content.tally
    cube = content.cube
    sliders = {}
    if cube:
        starts = content.start or [0] * len(cube.columns)
        sliders = {
            c.name: {"steps": c.bars * FINE, "start": start}
            for c, start in zip(cube.columns, starts, strict=True)
        }
    page = environment.get_template("template.html.j2").render(
        title=content.title,
        version=__version__,
        lead=_lead(content),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        selected=content.selected,
        tally=tally,
        fates=_fates(tally),
        reasons=content.reasons,
        sections=_sections(content),
        histograms=[draw_histogram(histogram) for histogram in content.histograms],
        sliders=sliders,
        joints=_joints(cube),
        cube=_cube_island(content) if cube else None,
        comparison=content.comparison,
        outlines=[draw_outlines(*h) for h in content.comparison.histograms]
        if content.comparison
        else [],
        galleries=content.galleries,
        details=content.details,
        pictures=content.pictures,
        columns=content.columns,
        shown=content.columns[:SHOWN_COLUMNS],
        scope=content.scope,
        null_means=NULL_MEANS,
        slices=content.slices,
        failures=content.failures,
        broken_shards=content.broken_shards,
        changed_shards=content.changed_shards,
        shards_listed=SHARDS_LISTED,
        run_facts=content.run_facts,
    )
    return page.lstrip()


def percent(part: int, whole: int) -> str:
    """Format a fraction so that it never rounds to 0 % or 100 % if it is not exact."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1%"
    if 99.9 < share < 100:
        return ">99.9%"
    return f"{share:.1f}%"


def format_score(column: ScoreColumn, value: float) -> str:
    """Format with enough decimals for a tenth of a bar, but no more digits than a card is wide."""
    decimals = max(0, math.ceil(0.7 - math.log10(column.width)))
    return f"{value:.{decimals}f}" if decimals <= _MOST_DECIMALS else f"{value:#.4g}"


def share_of_range(column: ScoreColumn, value: float) -> str:
    """Return a value's position in its column's range, 0..100."""
    span = column.high - column.low
    return number(round(100 * min(1.0, max(0.0, (value - column.low) / span)), 1))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a policy that allows only the page's own styles and scripts, by digest."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; "
        f"script-src {digest(script)}; base-uri 'none'; form-action 'none'"
    )


def _lead(content: Content) -> str:
    tally = content.tally
    if not content.selected:
        return (
            f"{tally.kept:,} of {tally.rows:,} pairs were scored; no selection has been made yet."
        )
    return (
        f"{tally.kept:,} of {tally.rows:,} pairs kept ({percent(tally.kept, tally.rows)}), "
        f"{tally.dropped:,} dropped by the selection, {tally.failed:,} could not be scored."
    )


def _fates(tally: Tally) -> list[Share]:
    shares, start = [], 0.0
    for name in ("kept", "dropped", "failed"):
        count = getattr(tally, name)
        width = 100 * count / tally.rows if tally.rows else 0.0
        if count:
            shares.append(Share(name, round(start, 3), round(width, 3), f"{count:,}"))
        start += width
    return shares


def _sections(content: Content) -> list[tuple[str, str]]:
    parts = [("overview", "Overview")]
    if content.histograms:
        parts.append(("scores", "Scores"))
    if content.cube and len(content.cube.columns) > 1:
        parts.append(("joint", "Joint"))
    if content.comparison:
        parts.append(("compared", "Side by side"))
    parts += [(gallery.name, gallery.title) for gallery in content.galleries]
    if content.slices:
        parts.append(("slices", "Slices"))
    if content.failures or content.broken_shards or content.changed_shards:
        parts.append(("failures", "Failures"))
    return [*parts, ("run", "The run")]


def _joints(cube: Cube | None) -> list[JointChart]:
    if cube is None:
        return []
    count = len(cube.columns)
    return [draw_joint(cube, i, j) for i in range(count) for j in range(i + 1, count)]


def _cube_island(content: Content) -> Markup:
    cube, tally = content.cube, content.tally
    assert cube is not None
    whatif = f"the selection keeps {tally.kept:,}" if content.selected else "no selection yet"
    return script_json(
        {
            "columns": [
                {"name": printable(c.name), "low": c.low, "width": c.width, "bars": c.bars}
                for c in cube.columns
            ],
            "split": cube.split,
            "fine": FINE,
            "pairs": content.pairs.packed() if content.pairs else None,
            "cells": len(cube.kept),
            "packed": cube.packed(),
            "start": list(content.start or [0] * len(cube.columns)),
            "whatif": whatif,
        }
    )
