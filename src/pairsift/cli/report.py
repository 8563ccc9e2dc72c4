"""`pairsift report`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import SHARDS_UNREADABLE, Json, Roots, emit, warn


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    scores: Annotated[list[str], typer.Argument(help="Folders that `pairsift score` wrote.")],
    out: Annotated[str, typer.Option(help="The HTML file to write.")],
    selection: Annotated[
        str | None, typer.Option(help="Folder that `pairsift select` wrote.")
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="A second selection, to see side by side.")
    ] = None,
    join: Annotated[
        list[str] | None, typer.Option(help="Other scores, NAME=PATH, shown beside these.")
    ] = None,
    root: Roots = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
    gallery_size: Annotated[int, typer.Option(min=0, help="Pairs a gallery.")] = 12,
    seed: Annotated[int, typer.Option(help="For the random samples.")] = 0,
    json: Json = False,
) -> None:
    """Show what was kept, what was dropped, what failed, and why, in one HTML file.

    Where no picture can be read, the report is written all the same; the exit code is then 3.
    """
    from dataclasses import asdict

    from pairsift.report import write_report

    summary = write_report(
        scores,
        selection,
        out,
        title=title,
        gallery_size=gallery_size,
        seed=seed,
        compare=compare,
        joins=join or (),
        roots=root or (),
    )
    emit(asdict(summary), json, f"report in {summary.path}")
    if summary.changed:
        warn(
            f"{summary.changed:,} shards are gone or have changed since they were scored; "
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
