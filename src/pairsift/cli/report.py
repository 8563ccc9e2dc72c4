"""`pairsift report`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import SHARDS_UNREADABLE, Json, emit, warn
from pairsift.cli.options import with_options
from pairsift.options import ReportOptions


def register(app: typer.Typer) -> None:
    app.command()(report)


@with_options(options=ReportOptions)
def report(
    options: ReportOptions,
    scores: Annotated[list[str], typer.Argument(help="Folders that `pairsift score` wrote.")],
    out: Annotated[str, typer.Option(help="The HTML file to write.")],
    selection: Annotated[
        str | None, typer.Option(help="Folder that `pairsift select` wrote.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what was kept, what was dropped, what failed, and why, in one HTML file.

    If no picture can be read, the report is written without pictures; the exit code is then 3.
    """
    from dataclasses import asdict

    from pairsift import steps

    summary = steps.report(scores, selection, options, out)
    emit(asdict(summary), json, f"report in {summary.path}")
    if summary.changed:
        warn(
            f"{summary.changed:,} shards are missing or have changed since they were scored; "
            "the report names them under Failures"
        )
    if summary.without_picture:
        shown = summary.pictures + summary.without_picture
        warn(
            f"{summary.without_picture:,} of {shown:,} pairs have no picture in the report; "
            f"first: {summary.why}"
        )
        if not summary.pictures:
            raise typer.Exit(SHARDS_UNREADABLE)
