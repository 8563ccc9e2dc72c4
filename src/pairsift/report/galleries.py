"""Choose the pairs to show: those with extreme scores, and seeded random samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pairsift.expressions.terms import quoted, text_sql
from pairsift.report.columns import ScoreColumn
from pairsift.report.table import ScoredRows
from pairsift.scorers.marking import OUT_OF_SCOPE
from pairsift.select.groups import COPY_GROUP

SHOWN_COLUMNS = 5
SLICE_PANELS = 6
FAILED_PANELS = 8
COPY_PANELS = 3
SAMPLE_ROWS = 50_000
# Columns that rate the pair; facts such as a caption's length are not ratings.
_OTHER_SCORER = re.compile(r"clip|cosine|similarity|siglip|dual|blip|image_text")


@dataclass(frozen=True, slots=True)
class Pick:
    """A row to show.

    Attributes:
        pos: its position, see :func:`~pairsift.report.table.split_position`.
        kept: whether the selection keeps it.
        scores: by column name.
        note: why it is shown, if the pairs of a panel have different reasons.
        failed: whether it has no scores and could not be selected.
    """

    pos: int
    kept: bool
    scores: dict[str, float | None]
    note: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of cards; `label` says what they show, for example a metric's title."""

    label: str
    picks: list[Pick]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A kind of pairs to look at, in one or more panels."""

    name: str
    title: str
    explains: str
    panels: list[Panel] = field(default_factory=list)
    beside: bool = False
    """Whether to show the panels side by side instead of one at a time."""


def pick_galleries(
    rows: ScoredRows, size: int, margin: str | None = None, compared: tuple[str, str] | None = None
) -> list[Gallery]:
    """Choose the pairs of every gallery; empty galleries are left out.

    Args:
        size: pairs per panel.
        margin: SQL for a row's signed distance from the cut, if known.
        compared: names of the two selections, if two are compared.
    """
    if size <= 0:
        return []
    if not rows.columns:
        found = [_copies(rows, size)] if rows.grouped else []
        return [gallery for gallery in (*found, _failed(rows, size)) if gallery.panels]
    columns = rows.columns[:SHOWN_COLUMNS]
    galleries = [
        Gallery(
            "best",
            "Best",
            "The pairs with the best scores.",
            [Panel(c.title, _extreme(rows, i, _best(c), size)) for i, c in enumerate(columns)],
        ),
        Gallery(
            "worst",
            "Worst",
            "The scored pairs with the worst scores.",
            [Panel(c.title, _extreme(rows, i, _worst(c), size)) for i, c in enumerate(columns)],
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
                "A random sample of what the selection drops.",
                [Panel("", _sample(rows, "status = 'ok' AND NOT kept", size))],
            ),
        ]
    galleries += _disagreeing(rows, size)
    galleries.append(
        Gallery(
            "random-kept",
            "Kept, at random" if rows.selected else "At random",
            "A random sample of what "
            + ("the selection keeps." if rows.selected else "the shards hold."),
            [Panel("", _sample(rows, "kept", size))],
        )
    )
    if rows.grouped:
        galleries.append(_copies(rows, size))
    galleries += [_by_slice(rows, number, size) for number in range(len(rows.kinds))]
    galleries.append(_failed(rows, size))
    for gallery in galleries:
        gallery.panels[:] = [panel for panel in gallery.panels if panel.picks]
    return [gallery for gallery in galleries if gallery.panels]


def _copies(rows: ScoredRows, size: int) -> Gallery:
    """The largest groups of copies, and others at random; the kept pairs of each come first."""
    found = rows.fetch(
        f"SELECT {COPY_GROUP}, count(*), count(*) FILTER (kept) FROM rows "
        f"WHERE {COPY_GROUP} IS NOT NULL GROUP BY ALL"
    )
    largest = sorted(found, key=lambda group: (-group[1], group[0]))[:COPY_PANELS]
    # A group's name is a hash, so that its end is as good as random.
    others = sorted(found, key=lambda group: group[0][::-1])
    shown = largest + [group for group in others if group not in largest][:COPY_PANELS]
    return Gallery(
        "copies",
        "Copies",
        "Groups of copies: the largest, then some at random.",
        [
            Panel(
                f"{count:,} copies, {kept:,} kept" if rows.selected else f"{count:,} copies",
                _draw(rows, f"{COPY_GROUP} = {text_sql(name)}", f"kept DESC, {rows.tie}", size),
            )
            for name, count, kept in shown
        ],
    )


def _differing(rows: ScoredRows, size: int, first: str, second: str) -> Gallery:
    return Gallery(
        "differing",
        "Where the selections differ",
        "Pairs that one of the two keeps and the other drops, at random.",
        [
            Panel(f"Only {first}", _sample(rows, "kept AND NOT compared", size)),
            Panel(f"Only {second}", _sample(rows, "compared AND NOT kept", size)),
        ],
        beside=True,
    )


def _disagreeing(rows: ScoredRows, size: int) -> list[Gallery]:
    """Return pairs that our first metric and another scorer rank most differently."""
    names = [column.name for column in rows.columns]
    others = [c.name for c in rows.columns if not c.metric and _OTHER_SCORER.search(c.name)]
    if not rows.columns[0].metric or not others:
        return []
    ours, other = names[0], others[0]
    i, j = names.index(ours), names.index(other)
    cells = rows.fetch(
        f"SELECT step{i}, step{j}, count(*) FROM rows "
        f"WHERE step{i} > 0 AND step{j} > 0 GROUP BY ALL"
    )
    rank_i, rank_j = _ranks((c[0], c[2]) for c in cells), _ranks((c[1], c[2]) for c in cells)
    gaps = sorted(((rank_i[a] - rank_j[b], a, b, count) for a, b, count in cells), reverse=True)
    panels = []
    for label, ordered in ((f"{ours} high", gaps), (f"{other} high", gaps[::-1])):
        found = 0
        inside = []
        for _, a, b, count in ordered:
            inside.append(f"step{i} = {a} AND step{j} = {b}")
            found += count
            if found >= size:
                break
        cells_in_order = " ".join(f"WHEN {cell} THEN {n}" for n, cell in enumerate(inside))
        order = f"CASE {cells_in_order} END, {rows.tie}"
        panels.append(Panel(label, _draw(rows, f"({' OR '.join(inside)})", order, size)))
    explains = f"Pairs that {ours} ranks far higher than {other}, and the reverse."
    return [Gallery("disagreeing", "Scorers that disagree", explains, panels)]


def _ranks(counted: Iterable[tuple[int, int]]) -> dict[int, float]:
    """Return, for each step, the fraction of rows below it plus half of its own."""
    counts: Counter[int] = Counter()
    for step, count in counted:
        counts[step] += count
    ranks, below = {}, 0
    for step in sorted(counts):
        ranks[step] = (below + counts[step] / 2) / counts.total()
        below += counts[step]
    return ranks


def _by_slice(rows: ScoredRows, number: int, size: int) -> Gallery:
    name = rows.kinds[number]
    values = rows.fetch(
        f"SELECT {quoted(name)}::VARCHAR FROM rows WHERE status = 'ok' AND {quoted(name)} IS NOT "
        f"NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {SLICE_PANELS}"
    )
    title = f"By {name}"
    explains = (
        f"The best and the worst pairs by {rows.columns[0].name} of each frequent value of {name}, "
        "and others at random."
    )
    if name == OUT_OF_SCOPE:
        title = "Out of scope"
        explains = (
            "Pairs that the scorer was not trained for, by reason: the best and the "
            f"worst by {rows.columns[0].name}, and others at random."
        )
    return Gallery(
        f"by-{number}",
        title,
        explains,
        [Panel(value, _of_slice(rows, name, value, size)) for (value,) in values],
    )


def _of_slice(rows: ScoredRows, name: str, value: str, size: int) -> list[Pick]:
    """Return a third of the best, a third of the worst, the rest at random; no row twice."""
    inside = f"status = 'ok' AND {quoted(name)} = {text_sql(value)}"
    third, first = max(1, size // 3), rows.columns[0]
    picks = [
        *(replace(pick, note="best") for pick in _extreme(rows, 0, _best(first), third, inside)),
        *(replace(pick, note="worst") for pick in _extreme(rows, 0, _worst(first), third, inside)),
        *(replace(pick, note="random") for pick in _sample(rows, inside, size)),
    ]
    shown = {pick.pos: pick for pick in reversed(picks)}
    return [pick for pick in picks if shown[pick.pos] is pick][:size]


def _best(column: ScoreColumn) -> str:
    """SQL order that begins with the best rows."""
    return "ASC" if column.lower_is_better else "DESC"


def _worst(column: ScoreColumn) -> str:
    return "DESC" if column.lower_is_better else "ASC"


def _failed(rows: ScoredRows, size: int) -> Gallery:
    """Return pairs without scores; some still have a readable image."""
    statuses = rows.fetch(
        "SELECT status::VARCHAR FROM rows WHERE status <> 'ok' GROUP BY status "
        f"ORDER BY count(*) DESC, status::VARCHAR LIMIT {FAILED_PANELS}"
    )
    return Gallery(
        "failed",
        "Failed",
        "Random pairs that could not be scored, by status.",
        [
            Panel(
                status,
                [
                    replace(pick, failed=True)
                    for pick in _sample(rows, f"status = {text_sql(status)}", max(1, size // 2))
                ],
            )
            for (status,) in statuses
        ],
    )


def _borderline(
    rows: ScoredRows, columns: Sequence[ScoreColumn], size: int, margin: str | None
) -> Gallery:
    if margin is None:
        name = f"nullif({quoted(columns[0].name)}::DOUBLE, 'nan')"
        just_in, just_out = f"{name} ASC NULLS LAST", f"{name} DESC NULLS LAST"
        explains = (
            f"The kept pairs with the lowest {columns[0].name} and the dropped pairs with the "
            "highest."
        )
    else:
        just_in, just_out = f"({margin}) ASC NULLS LAST", f"({margin}) DESC NULLS LAST"
        explains = "The pairs nearest to the cut, on both sides."
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


def _extreme(
    rows: ScoredRows, index: int, order: str, size: int, among: str = "status = 'ok'"
) -> list[Pick]:
    """Return the highest (``DESC``) or lowest rows of a column, from the outermost steps."""
    step = f"step{index}"
    counted = rows.fetch(
        f"SELECT {step}, count(*) FROM rows WHERE {step} > 0 AND {among} GROUP BY ALL "
        f"ORDER BY 1 {order}"
    )
    reached = edge = 0
    for step_number, count in counted:
        edge, reached = step_number, reached + count
        if reached >= size:
            break
    outermost = f"{step} >= {edge}" if order == "DESC" else f"{step} BETWEEN 1 AND {edge}"
    name = quoted(rows.columns[index].name)
    return _draw(rows, f"{among} AND {outermost}", f"{name} {order}, {rows.tie}", size)


def _sample(rows: ScoredRows, where: str, size: int) -> list[Pick]:
    """Return random rows: the first in the seeded order, searching its beginning first."""
    total = rows.fetch("SELECT count(*) FROM rows")[0][0]
    if total > SAMPLE_ROWS:
        share = round(2**64 / total * SAMPLE_ROWS)
        found = _draw(rows, f"{rows.tie} < {share}::UBIGINT AND {where}", rows.tie, size)
        if len(found) == size:
            return found
    return _draw(rows, where, rows.tie, size)


def _draw(rows: ScoredRows, where: str, order: str, size: int) -> list[Pick]:
    names = [column.name for column in rows.columns]
    scores = "".join(f", {quoted(name)}" for name in names)
    found = rows.fetch(
        f"SELECT pos, kept{scores} FROM rows WHERE {where} ORDER BY {order} LIMIT {int(size)}"
    )
    return [Pick(pos, kept, dict(zip(names, values, strict=True))) for pos, kept, *values in found]
