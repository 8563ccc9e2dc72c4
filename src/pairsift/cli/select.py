"""`pairsift select`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairsift.cli.common import Json, emit, table, tell
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
    """Select pairs by their scores. Nothing is scored again and no image is read."""
    from pairsift import steps

    selection = steps.select(scores, options, None if dry_run else out)
    tell(_wrong_ends(scores, options.by))
    emit(selection.to_json(), json, describe(selection))


def _wrong_ends(scores: Sequence[str], by: str | None) -> Iterator[str]:
    """Warn of a cut by a metric whose low end is the good one; --top keeps the highest."""
    from pairsift.scores import folder_metrics

    metric = folder_metrics(scores[0]).get(by) if by is not None else None
    if metric is not None and metric.better == "lower":
        yield f"lower is better for {by}, but the highest are kept; for the lowest: --by '-{by}'"


def describe(selection: Selection) -> str:
    """Describe a selection as lines of text: what it keeps, what it drops and why."""
    from pairsift.select.agreement import describe_agreement

    record = selection.record
    lines = [(f"{record.rows:,}", "rows in the score tables")]
    lines += [
        (f"{count:,}", f"removed: failed with status {status}")
        for status, count in record.failed.items()
    ]
    lines += [(f"{drop.rows:,}", f"removed: {_reason(drop)}") for drop in record.dropped]
    share = f", {100 * record.kept / record.rows:.2f}% of all rows" if record.rows else ""
    lines.append((f"{record.kept:,}", f"kept{share}"))
    if record.repeats:
        lines.append(
            (f"{record.kept - record.repeats:,}", "different rows; the others repeat them")
        )
    text = [table(lines)]
    text += [f"{name} is {_rounded(value)}" for name, value in record.percentiles.items()]
    text += [_threshold(cut, record.query) for cut in record.cuts[:_CUTS_SHOWN]]
    if len(record.cuts) > _CUTS_SHOWN:
        text.append(f"{len(record.cuts) - _CUTS_SHOWN:,} more groups are not shown; see --json")
    if record.percentiles or record.cuts:
        text.append("thresholds are rounded here; --json prints the exact values")
    if record.agreement is not None:
        text.append(describe_agreement(record.agreement))
    text.append(f"written to {selection.path}" if selection.path else "nothing was written")
    return "\n".join(text)


def _reason(drop: Drop) -> str:
    """Return why rows were removed, and how many the condition removes alone if that is more."""
    if drop.alone is None:
        return drop.reason
    if drop.alone == drop.rows:
        return f"not {drop.reason}"
    return f"not {drop.reason} (this condition alone would remove {drop.alone:,})"


def _threshold(cut: Cut, query: Mapping[str, Any]) -> str:
    group = f"{query['per']} {cut.group}: " if query.get("per") else ""
    if cut.threshold is None:
        return f"{group}none of {cut.scorable:,} rows kept"
    at = f"{query['by']} >= {_rounded(cut.threshold)}"
    ties = ""
    if cut.ties_kept < cut.ties:
        ties = f" ({cut.ties:,} rows have exactly this value; {cut.ties_kept:,} of them are kept)"
    return f"{group}{cut.kept:,} of {cut.scorable:,} rows kept, those with {at}{ties}"


def _rounded(number: float) -> str:
    """Format a number with at most four decimals, or four significant digits if it is below 1."""
    if abs(number) < 1:
        return f"{number:.4g}"
    return f"{number:.4f}".rstrip("0").rstrip(".")
