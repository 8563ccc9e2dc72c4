"""Build the report file from score tables and a selection."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from pairsift.errors import PairsiftError
from pairsift.report.aggregate import (
    Failure,
    Tally,
    build_cube,
    compare_selections,
    count_bars,
    count_failures,
    count_pairs,
    count_rows,
    count_slices,
)
from pairsift.report.cuts import describe, margin_sql, read_conditions, slider_steps
from pairsift.report.galleries import Gallery, Pick, pick_galleries
from pairsift.report.page import Content, Reason, render_page
from pairsift.report.pictures import fetch_pictures
from pairsift.report.scope import read_scope
from pairsift.report.table import ScoredRows, open_rows
from pairsift.select import Join, Selection, parse_join, read_selection
from pairsift.select.agreement import describe_agreement
from pairsift.select.groups import COPY_GROUP
from pairsift.sources.score_rows import KIND as SCORES
from pairsift.storage import OutputKind, output_file

GALLERY_SIZE = 12
_HEAD_BYTES = 4096


def _is_report(file: IO[bytes]) -> bool:
    return b'<meta name="generator" content="pairsift ' in file.read(_HEAD_BYTES)


PAGE = OutputKind("a report of Pairsift", _is_report)


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What was written.

    Attributes:
        path: path of the HTML file.
        size: bytes of the file.
        rows, kept, dropped, failed: pairs; without a selection every scored pair counts as kept.
        pictures: scored pairs shown with a thumbnail.
        without_picture: scored pairs shown without one, because their shard has moved or changed.
        seconds: how long it took.
        why: why the first pair without a picture has none.
        changed: shards on local disks that are missing, or have changed since they were scored.
    """

    path: str
    size: int
    rows: int
    kept: int
    dropped: int
    failed: int
    pictures: int
    without_picture: int
    seconds: float
    why: str | None = None
    changed: int = 0


def write_report(
    scores: str | Sequence[str],
    selection: str | None,
    out: str,
    title: str = "",
    gallery_size: int = GALLERY_SIZE,
    seed: int = 0,
    compare: str | None = None,
    joins: Sequence[str | Join] = (),
    roots: Sequence[str] = (),
    groups: str | None = None,
) -> ReportSummary:
    """Write a report on score folders: one HTML file that needs no other file and no network.

    Args:
        scores: one score folder or several, as paths or fsspec URLs.
        selection: folder of a selection from these scores; None for a report without one.
        out: the HTML file to write; an old one is replaced once the new one is complete.
        title: heading of the page; if empty, the name of the first score folder.
        gallery_size: pairs in each gallery; 12. With 0 there are no galleries, and no shard is
            read.
        seed: seed of the random samples; 0.
        compare: folder of a second selection from the same scores, to compare with the first.
        joins: tables of other scores to show beside these, as :func:`pairsift.select.select` takes
            them; those that the selection was made with are always shown.
        roots: folder where the source shards are now, if they were moved since they were scored:
            one for all score folders, or one for each in order.
        groups: folder of :func:`pairsift.dedup.dedup`, whose groups to show; None for the one that
            the selection was made with, if any.

    Returns:
        what was written: path, size and counts.

    Raises:
        PairsiftError: a folder holds no scores, or a selection is from other scores; or `out` is a
            file that is not a report.

    Examples:
        >>> from pairsift.select import select
        >>> _ = select("scores", where="smaller_side >= 250", out="selection")
        >>> summary = write_report("scores", "selection", "report.html")
        >>> summary.rows, summary.kept, summary.dropped
        (4, 3, 1)
    """
    begin = time.perf_counter()
    target, name = output_file(out, PAGE)
    if compare and not selection:
        raise PairsiftError("--compare needs a selection to compare with; give --selection too")
    chosen = read_selection(selection) if selection else None
    other = read_selection(compare) if compare else None
    with open_rows(
        scores, chosen, other, all_joins(joins, chosen), seed, roots=roots, groups=groups
    ) as rows:
        content = gather(rows, chosen, other, title or _default_title(rows), gallery_size)
    page = render_page(content).encode("utf-8", errors="replace")
    target.create()
    target.write(name, page)
    # A failed pair often has no picture.
    shown = {pick.pos for pick in _picks(content.galleries) if not pick.failed}
    if all(facts.get("source_kind") == SCORES for facts in rows.facts):
        shown = set()  # imported without a pool
    problems = [content.pictures[pos].problem for pos in sorted(shown)
                if content.pictures[pos].thumbnail is None]  # fmt: skip
    tally = content.tally
    return ReportSummary(
        path=out,
        size=len(page),
        rows=tally.rows,
        kept=tally.kept,
        dropped=tally.dropped,
        failed=tally.failed,
        pictures=len(shown) - len(problems),
        without_picture=len(problems),
        seconds=time.perf_counter() - begin,
        why=next(iter(problems), None),
        changed=len(content.changed_shards),
    )


def all_joins(asked: Sequence[str | Join], selection: Selection | None) -> list[Join]:
    """Return the requested joins, and those that the selection's expressions may use."""
    joins = [parse_join(join) if isinstance(join, str) else join for join in asked]
    for recorded in selection.record.query.get("joins") or [] if selection else []:
        if recorded["name"] not in {join.name for join in joins}:
            joins.append(Join(**recorded))
    return joins


def gather(
    rows: ScoredRows,
    selection: Selection | None,
    other: Selection | None,
    title: str,
    size: int,
) -> Content:
    """Collect everything that a report shows of loaded rows, pictures included."""
    tally = count_rows(rows)
    cube = build_cube(rows) if rows.columns else None
    in_cube = cube.columns if cube else ()
    histograms = [cube.histogram(i) for i in range(len(in_cube))] if cube else []
    histograms += [count_bars(rows, i) for i in range(len(in_cube), len(rows.columns))]
    conditions = read_conditions(selection.record, rows.columns) if selection else None
    margin = margin_sql(conditions) if conditions else None
    names = (describe(selection), describe(other)) if selection and other else None
    galleries = pick_galleries(rows, size, margin, names)
    failures = count_failures(rows)
    details = rows.details(pick.pos for pick in _picks(galleries))
    return Content(
        title=title,
        selected=rows.selected,
        tally=tally,
        reasons=_reasons(selection, failures),
        cube=cube,
        pairs=count_pairs(rows, cube) if cube else None,
        start=slider_steps(conditions, cube.columns) if cube and conditions else None,
        histograms=histograms,
        columns=rows.columns,
        comparison=compare_selections(rows, *names) if names else None,
        galleries=galleries,
        details=details,
        pictures=fetch_pictures(details, rows.shards),
        scope=read_scope(rows),
        slices=[(name, count_slices(rows, name)) for name in rows.kinds],
        failures=failures,
        broken_shards=[
            (table.shard, facts["source_error"])
            for table, facts in zip(rows.tables.tables, rows.facts, strict=True)
            if facts.get("source_error")
        ],
        changed_shards=rows.shards.changes(),
        run_facts=_run_facts(rows, selection, tally),
    )


def _picks(galleries: Sequence[Gallery]) -> list[Pick]:
    return [pick for gallery in galleries for panel in gallery.panels for pick in panel.picks]


def _reasons(selection: Selection | None, failures: Sequence[Failure]) -> list[Reason]:
    reasons = []
    for drop in selection.record.dropped if selection else []:
        if drop.rows or drop.alone:
            meaning = "dropped by the selection"
            if drop.alone is not None:
                meaning += f"; this condition alone would drop {drop.alone:,}"
            reasons.append(Reason(drop.reason, meaning, drop.rows))
    return reasons + [Reason(f.status.value, f.status.meaning, f.count) for f in failures]


def _run_facts(
    rows: ScoredRows, selection: Selection | None, tally: Tally
) -> list[tuple[str, str]]:
    found = [("Scores", ", ".join(rows.tables.folders))]
    if selection is not None:
        found.append(("Selection", selection.path or ""))
        found += [
            (f"Selected --{name.replace('_', '-')}", str(value))
            for name, value in selection.record.query.items()
            if value and name != "joins"
        ]
        if (agreement := selection.record.agreement) is not None:
            found.append(("Agreement with full scoring", describe_agreement(agreement)))
        found.append(("Selection digest", selection.record.digest))
    fingerprint = rows.tables.fingerprint
    found += [(name.replace("_", " ").capitalize(), value) for name, value in fingerprint.items()]
    if rows.grouped:
        found.append(("Copies", _copies(rows)))
    found += [("Shards", f"{len(rows.facts):,}"), ("Pairs", f"{tally.rows:,}")]
    seconds = sum(float(fact.get("seconds") or 0) for fact in rows.facts)
    if seconds > 0:
        found.append(("Speed", f"{tally.rows / seconds:,.1f} pairs per second and worker"))
    times = sorted(fact["finished_at"] for fact in rows.facts if fact.get("finished_at"))
    if times:
        found.append(("Shards finished", f"{times[0]} to {times[-1]}"))
    versions = {str(f["pairsift_version"]) for f in rows.facts if f.get("pairsift_version")}
    return [*found, ("Pairsift version", ", ".join(sorted(versions)))]


def _copies(rows: ScoredRows) -> str:
    grouped, groups, kept = rows.fetch(
        f"SELECT count({COPY_GROUP}), count(DISTINCT {COPY_GROUP}), "
        f"count({COPY_GROUP}) FILTER (kept) FROM rows"
    )[0]
    return f"{grouped:,} pairs are in {groups:,} groups of copies; {kept:,} of these are kept"


def _default_title(rows: ScoredRows) -> str:
    return os.path.basename(rows.tables.folders[0].rstrip("/")) or "scores"
