"""`pairsift explore`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Roots


def register(app: typer.Typer) -> None:
    app.command()(explore)


def explore(
    scores: Annotated[list[str], typer.Argument(help="Folders that `pairsift score` wrote.")],
    selection: Annotated[
        str | None, typer.Option(help="Folder that `pairsift select` wrote.")
    ] = None,
    join: Annotated[
        list[str] | None, typer.Option(help="Other scores, NAME=PATH, shown beside these.")
    ] = None,
    root: Roots = None,
    port: Annotated[int, typer.Option(min=0, help="On the loopback; 0 for any free one.")] = 0,
    cache: Annotated[
        str | None, typer.Option(help="Folder for the caption index; your cache folder if not set.")
    ] = None,
) -> None:
    """Look through the real rows in a browser, with search over captions. Nothing is changed."""
    from pairsift.explore import explore as serve

    serve(
        scores,
        selection,
        joins=join or (),
        port=port,
        roots=root or (),
        cache=cache,
        ready=lambda url: typer.echo(f"open {url} (Ctrl-C ends it)"),
    )
