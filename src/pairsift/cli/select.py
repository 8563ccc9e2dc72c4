"""`pairsift select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli.common import Json, emit, table

if TYPE_CHECKING:
    from pairsift.select import Selection


def register(app: typer.Typer) -> None:
    app.command()(select)


def select(
    scores: Annotated[list[str], typer.Argument(help="Folders that `pairsift score` wrote.")],
    out: Annotated[
        str | None, typer.Option(help="Folder for the selection; without it, only count.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help='Condition, for example "itm >= 66 and odf >= 20".')
    ] = None,
    top: Annotated[
        float | None, typer.Option(help="Fraction to keep of the rows that can be ranked.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Number to keep, in place of --top.")] = None,
    by: Annotated[
        str | None, typer.Option(help='What --top ranks by, for example "0.5*itm + 0.5*odf".')
    ] = None,
    per: Annotated[
        str | None, typer.Option(help="Column whose every value gets its own --top.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which of equal rows at the cut stay.")] = 0,
    exclude: Annotated[
        list[str] | None, typer.Option(help="List of uids to leave out: .npy, .parquet or text.")
    ] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="Keep the best row of each uid only.")
    ] = False,
    join: Annotated[
        list[str] | None,
        typer.Option(help="Other scores or metadata, NAME=PATH or NAME=PATH@uid: NAME.column."),
    ] = None,
    memory_limit: Annotated[str, typer.Option(help="Of the query; more goes to disk.")] = "2GB",
    json: Json = False,
) -> None:
    """Choose pairs by their scores. Nothing is scored again and no image is touched."""
    from pairsift.select import select as select_rows

    selection = select_rows(
        scores,
        where=where,
        top=top,
        count=count,
        by=by,
        per=per,
        seed=seed,
        exclude=exclude or (),
        unique=unique,
        joins=join or (),
        out=out,
        memory_limit=memory_limit,
    )
    emit(selection.to_json(), json, describe(selection))


def describe(selection: Selection) -> str:
    """What a selection keeps, what it drops and why, as lines of text."""
    record = selection.record
    lines = [(f"{record.rows:,}", "rows")]
    lines += [(f"-{count:,}", f"failed: {status}") for status, count in record.failed.items()]
    lines += [(f"-{drop.rows:,}", drop.reason) for drop in record.dropped]
    lines.append((f"{record.kept:,}", f"kept{f', in {selection.path}' if selection.path else ''}"))
    return table(lines)
