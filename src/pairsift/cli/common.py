"""Options and output that several commands share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairsift.errors import NothingScoredError
from pairsift.printable import one_line, printable

if TYPE_CHECKING:
    from pairsift.engines.base import RunSummary

# Exit code if only some shards failed; the same command tries them again.
SHARDS_UNREADABLE = 3

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def emit(result: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print a command's result, as JSON or as text."""
    typer.echo(json.dumps(result, indent=1, default=str) if as_json else printable(text))


def warn(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(f"pairsift: {one_line(message)}", err=True)


def end_scoring(summary: RunSummary) -> None:
    """Exit with the right code after a scoring run; return if it is 0."""
    if summary.unreadable:
        name, why = next(iter(summary.unreadable.items()))
        count = f"{len(summary.unreadable):,} shards could not"
        if len(summary.unreadable) == summary.shards > 1:
            count = f"none of the {summary.shards:,} shards could"
        warn(
            f"{count} be read and have no table; first: {name}: {why} (the same command tries "
            "them again)"
        )
    if (why_none := summary.diagnosis()) is not None:
        warn(f"{why_none}. To see them: pairsift status {shlex.quote(summary.out)} --failures")
        raise typer.Exit(NothingScoredError.exit_code)
    if summary.unreadable:
        raise typer.Exit(SHARDS_UNREADABLE)


def tell(notes: Iterable[str]) -> None:
    """Print a message for the user on stderr."""
    for note in notes:
        warn(note)


def table(rows: list[tuple[str, str]]) -> str:
    """Format two aligned columns."""
    width = max((len(left) for left, _ in rows), default=0)
    return "\n".join(f"{left:<{width}}  {right}" for left, right in rows)
