"""Which pairs to show: extremes by the numbers, the rest by a seeded draw over all rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pairsift.metrics import METRICS
from pairsift.report.columns import ScoreColumn, quoted
from pairsift.report.table import ScoredRows
from pairsift.select.expression import text_sql

SHOWN_COLUMNS = 5
SLICE_PANELS = 6
# Columns that judge the same pair as ours do; facts such as a caption's length are no rivals.
_OTHER_SCORER = re.compile(r"clip|cosine|similarity|siglip|dual|blip|image_text")


@dataclass(frozen=True, slots=True)
class Pick:
    """A row to show.

    Attributes:
        pos: its place, see :func:`~pairsift.report.table.split_position`.
        kept: whether the selection keeps it.
        scores: by column name.
    """

    pos: int
    kept: bool
    scores: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of cards; `label` tells it from its neighbours, for example a metric's title."""

    label: str
    picks: list[Pick]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A kind of pairs worth looking at, in one or more panels."""

    name: str
    title: str
    explains: str
    panels: list[Panel] = field(default_factory=list)
    beside: bool = False
    """Show the panels side by side, not one at a time."""


def pick_galleries(
    rows: ScoredRows, size: int, margin: str | None = None, compared: tuple[str, str] | None = None
) -> list[Gallery]:
    """Draw the pairs of every gallery; empty ones are left out.

    Args:
        size: pairs per panel.
        margin: SQL for a row's signed distance from the cut, if it is known.
        compared: names of the two selections, if the rows have been through two.
    """
    if size <= 0 or not rows.columns:
        return []
    columns = rows.columns[:SHOWN_COLUMNS]
    galleries = [
        Gallery(
            "best",
            "Best",
            "The pairs with the highest scores.",
            [Panel(c.title, _extreme(rows, c, "DESC", size)) for c in columns],
        ),
        Gallery(
            "worst",
            "Worst",
            "The pairs with the lowest scores that could still be scored.",
            [Panel(c.title, _extreme(rows, c, "ASC", size)) for c in columns],
        ),
    ]
    if compared:
        galleries.append(_differing(rows, size, *compared))
    if rows.selected:
        galleries += [
            _borderline(rows, columns, size, margin),
            Gallery(
                "random-dropped",
                "Dropped, at random",
                "An unbiased look at what the selection throws away.",
                [Panel("", _draw(rows, "status = 'ok' AND NOT kept", rows.tie, size))],
            ),
        ]
    galleries += _disagreeing(rows, size)
    galleries.append(
        Gallery(
            "random-kept",
            "Kept, at random" if rows.selected else "At random",
            "An unbiased look at what "
            + ("the selection keeps." if rows.selected else "the shards hold."),
            [Panel("", _draw(rows, "kept", rows.tie, size))],
        )
    )
    galleries += [_by_slice(rows, number, size) for number in range(len(rows.slices))]
    for gallery in galleries:
        gallery.panels[:] = [panel for panel in gallery.panels if panel.picks]
    return [gallery for gallery in galleries if gallery.panels]


def _differing(rows: ScoredRows, size: int, first: str, second: str) -> Gallery:
    return Gallery(
        "differing",
        "Where the selections differ",
        "Pairs that one of the two keeps and the other drops, at random.",
        [
            Panel(f"Only {first}", _draw(rows, "kept AND NOT compared", rows.tie, size)),
            Panel(f"Only {second}", _draw(rows, "compared AND NOT kept", rows.tie, size)),
        ],
        beside=True,
    )


def _disagreeing(rows: ScoredRows, size: int) -> list[Gallery]:
    """Pairs that our first metric and another scorer rank most differently."""
    names = [column.name for column in rows.columns]
    others = [name for name in names if name not in METRICS and _OTHER_SCORER.search(name)]
    if names[0] not in METRICS or not others:
        return []
    ours, other = names[0], others[0]
    gap = " - ".join(_rank_sql(rows, names.index(name)) for name in (ours, other))
    both = f"status = 'ok' AND {quoted(ours)} IS NOT NULL AND {quoted(other)} IS NOT NULL"
    return [
        Gallery(
            "disagreeing",
            "Scorers that disagree",
            f"Pairs that {ours} ranks far higher than {other}, and the other way round.",
            [
                Panel(f"{ours} high", _draw(rows, both, f"{gap} DESC, {rows.tie}", size)),
                Panel(f"{other} high", _draw(rows, both, f"{gap} ASC, {rows.tie}", size)),
            ],
        )
    ]


def _rank_sql(rows: ScoredRows, index: int) -> str:
    """SQL of the share of rows below a row's step, from counts of the steps."""
    counts = dict(
        rows.fetch(f"SELECT step{index}, count(*) FROM rows WHERE status = 'ok' GROUP BY ALL")
    )
    counts[0] = 0
    total = max(1, sum(counts.values()))
    below, ranks = 0, []
    for step in range(max(counts) + 1):
        ranks.append(f"{(below + counts.get(step, 0) / 2) / total:.6f}")
        below += counts.get(step, 0)
    return f"([{', '.join(ranks)}])[step{index} + 1]"


def _by_slice(rows: ScoredRows, number: int, size: int) -> Gallery:
    name = rows.slices[number]
    values = rows.fetch(
        f"SELECT {quoted(name)}::VARCHAR AS value FROM rows WHERE status = 'ok' AND value IS NOT "
        f"NULL GROUP BY value ORDER BY count(*) DESC, value LIMIT {SLICE_PANELS}"
    )
    return Gallery(
        f"by-{number}",
        f"By {name}",
        f"Pairs of the most frequent values of {name}, at random.",
        [
            Panel(
                value,
                _draw(
                    rows,
                    f"status = 'ok' AND {quoted(name)} = {text_sql(value)}",
                    rows.tie,
                    max(1, size // 2),
                ),
            )
            for (value,) in values
        ],
    )


def _borderline(
    rows: ScoredRows, columns: Sequence[ScoreColumn], size: int, margin: str | None
) -> Gallery:
    if margin is None:
        name = quoted(columns[0].name)
        just_in, just_out = f"{name} ASC", f"{name} DESC"
        explains = (
            f"The kept pairs with the lowest {columns[0].name} and the dropped pairs with the "
            "highest."
        )
    else:
        just_in, just_out = f"({margin}) ASC NULLS LAST", f"({margin}) DESC NULLS LAST"
        explains = "The pairs nearest to the cut, on either side."
    return Gallery(
        "borderline",
        "Borderline",
        explains,
        [
            Panel("Just kept", _draw(rows, "kept", f"{just_in}, {rows.tie}", size)),
            Panel(
                "Just dropped",
                _draw(rows, "status = 'ok' AND NOT kept", f"{just_out}, {rows.tie}", size),
            ),
        ],
    )


def _extreme(rows: ScoredRows, column: ScoreColumn, order: str, size: int) -> list[Pick]:
    name = quoted(column.name)
    return _draw(rows, f"status = 'ok' AND {name} IS NOT NULL", f"{name} {order}, {rows.tie}", size)


def _draw(rows: ScoredRows, where: str, order: str, size: int) -> list[Pick]:
    names = [column.name for column in rows.columns]
    scores = "".join(f", {quoted(name)}" for name in names)
    found = rows.fetch(
        f"SELECT pos, kept{scores} FROM rows WHERE {where} ORDER BY {order} LIMIT {int(size)}"
    )
    return [Pick(pos, kept, dict(zip(names, values, strict=True))) for pos, kept, *values in found]
