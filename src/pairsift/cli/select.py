"""`pairsift select`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairsift.cli.common import Json, emit, table
from pairsift.cli.options import with_options
from pairsift.options import SelectOptions

if TYPE_CHECKING:
    from pairsift.select import Cut, Drop, Selection

_CUTS_SHOWN = 10


def register(app: typer.Typer) -> None:
    app.command()(select)


@with_options(options=SelectOptions)
def select(
    options: SelectOptions,
    scores: Annotated[list[str], typer.Argument(help="Folders that `pairsift score` wrote.")],
    out: Annotated[
        str | None,
        typer.Option(help="Folder for the selection; without it, rows are only counted."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count; write nothing, even if --out is given.")
    ] = False,
    json: Json = False,
) -> None:
    """Choose pairs by their scores. Nothing is scored again and no image is read."""
    from pairsift import steps

    selection = steps.select(scores, options, None if dry_run else out)
    emit(selection.to_json(), json, describe(selection))


def describe(selection: Selection) -> str:
    """What a selection keeps, what it drops and why, as lines of text."""
    from pairsift.select.agreement import describe_agreement

    record = selection.record
    lines = [(f"{record.rows:,}", "rows")]
    lines += [(f"-{count:,}", f"failed: {status}") for status, count in record.failed.items()]
    lines += [(f"-{drop.rows:,}", _reason(drop)) for drop in record.dropped]
    share = f"{100 * record.kept / record.rows:.2f}% of all rows" if record.rows else "of none"
    lines.append((f"{record.kept:,}", f"kept, {share}"))
    text = [table(lines)]
    text += [f"{name} is {_shortest(value)}" for name, value in record.percentiles.items()]
    text += [_threshold(cut, record.query) for cut in record.cuts[:_CUTS_SHOWN]]
    if len(record.cuts) > _CUTS_SHOWN:
        text.append(f"... and {len(record.cuts) - _CUTS_SHOWN:,} groups more (--json has all)")
    if record.agreement is not None:
        text.append(describe_agreement(record.agreement))
    text.append(f"in {selection.path}" if selection.path else "nothing was written")
    return "\n".join(text)


def _reason(drop: Drop) -> str:
    """A reason, and what it would remove if there were no other, where that is more."""
    if drop.alone is None or drop.alone == drop.rows:
        return drop.reason
    return f"{drop.reason} (alone: {drop.alone:,})"


def _threshold(cut: Cut, query: Mapping[str, Any]) -> str:
    group = f"{query['per']} {cut.group}: " if query.get("per") else ""
    if cut.threshold is None:
        return f"{group}none of {cut.scorable:,} kept"
    at = f"{query['by']} >= {_shortest(cut.threshold)}"
    ties = f"; {cut.ties_kept:,} of {cut.ties:,} that tie there" if cut.ties_kept < cut.ties else ""
    return f"{group}{cut.kept:,} of {cut.scorable:,} kept: {at}{ties}"


def _shortest(number: float) -> str:
    """The shortest text that selects the same rows: 71.3, not the float32's 71.30000305175781."""
    import numpy as np

    single = np.float32(number)
    return str(single) if float(single) == number else repr(number)
