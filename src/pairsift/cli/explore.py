"""`pairsift explore`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.options import with_options
from pairsift.options import Roots


def register(app: typer.Typer) -> None:
    app.command()(explore)


@with_options()
def explore(
    scores: Annotated[list[str], typer.Argument(help="Score folders that `pairsift score` wrote.")],
    selection: Annotated[
        str | None, typer.Option(help="Selection to show: a folder that `pairsift select` wrote.")
    ] = None,
    join: Annotated[
        list[str] | None, typer.Option(help="Other scores to show next to these, as NAME=PATH.")
    ] = None,
    root: Roots = (),
    groups: Annotated[
        str | None,
        typer.Option(
            help="Groups of copies to show: a folder that `pairsift dedup` wrote. Default: those "
            "that the selection was made with."
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(min=0, help="Port on this machine (localhost only); 0 takes any free port."),
    ] = 0,
    cache: Annotated[
        str | None, typer.Option(help="Folder for the caption index; default: your cache folder.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="File to append labels to (good, bad, unsure), a .jsonl file on a local disk. "
            "Several windows and readers may share it. Default: pairs cannot be labelled."
        ),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(help="With --labels: name to write beside each label; default: yours."),
    ] = None,
) -> None:
    """Browse the scored pairs in a web browser, search their captions, and label them.

    Changes no file but the one that --labels names. `evaluate human`, `teach` and `train` read it.
    """
    from pairsift.explore import explore as serve

    serve(
        scores,
        selection,
        joins=join or (),
        port=port,
        roots=root,
        cache=cache,
        groups=groups,
        labels=labels,
        reader=reader,
        ready=lambda url: typer.echo(f"open {url} (press Ctrl-C to stop)"),
    )
