"""Which pairs to show: extremes by the numbers, the rest by a seeded draw over all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pairsift.report.columns import ScoreColumn, quoted
from pairsift.report.table import ScoredRows, split_position

SHOWN_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Pick:
    """A row to show: identity, fate, size of the stored image, scores by column name.

    Attributes:
        table: index of the score file that holds it.
        row: in that file, and so the sample's place in its source shard.
    """

    table: int
    row: int
    shard: str
    key: str
    kept: bool
    width: int | None
    height: int | None
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


def pick_galleries(rows: ScoredRows, size: int, margin: str | None = None) -> list[Gallery]:
    """Draw the pairs of every gallery; empty ones are left out.

    Args:
        size: pairs per panel.
        margin: SQL for a row's signed distance from the cut, if it is known.
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
    if rows.selected:
        galleries += [
            _borderline(rows, columns, size, margin),
            Gallery(
                "random-dropped",
                "Dropped, at random",
                "An unbiased look at what the selection throws away.",
                [Panel("", _draw(rows, "status = 'ok' AND NOT kept", "tie", size))],
            ),
        ]
    galleries.append(
        Gallery(
            "random-kept",
            "Kept, at random" if rows.selected else "At random",
            "An unbiased look at what "
            + ("the selection keeps." if rows.selected else "the shards hold."),
            [Panel("", _draw(rows, "kept", "tie", size))],
        )
    )
    for gallery in galleries:
        gallery.panels[:] = [panel for panel in gallery.panels if panel.picks]
    return [gallery for gallery in galleries if gallery.panels]


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
            Panel("Just kept", _draw(rows, "kept", f"{just_in}, tie", size)),
            Panel(
                "Just dropped",
                _draw(rows, "status = 'ok' AND NOT kept", f"{just_out}, tie", size),
            ),
        ],
    )


def _extreme(rows: ScoredRows, column: ScoreColumn, order: str, size: int) -> list[Pick]:
    name = quoted(column.name)
    return _draw(rows, f"status = 'ok' AND {name} IS NOT NULL", f"{name} {order}, tie", size)


def _draw(rows: ScoredRows, where: str, order: str, size: int) -> list[Pick]:
    names = [column.name for column in rows.columns]
    scores = "".join(f", {quoted(name)}" for name in names)
    found = rows.fetch(
        f"SELECT pos, key, kept, width, height{scores} FROM rows WHERE {where} "
        f"ORDER BY {order} LIMIT {int(size)}"
    )
    picks = []
    for pos, key, kept, width, height, *values in found:
        table, row = split_position(pos)
        shard = rows.tables.tables[table].shard
        by_name = dict(zip(names, values, strict=True))
        picks.append(Pick(table, row, shard, key, kept, width, height, by_name))
    return picks
