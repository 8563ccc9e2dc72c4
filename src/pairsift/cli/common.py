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
ScorerName = Annotated[
    str, typer.Option(help="Name of a scorer, or a folder that holds a checkpoint.")
]
Model = Annotated[
    str | None, typer.Option(help="Checkpoint that the scorer loads: a folder or a hub name.")
]
VisionTower = Annotated[
    str | None, typer.Option(help="Folder of the vision tower, if a legacy checkpoint lacks it.")
]
Adapter = Annotated[str | None, typer.Option(help="Folder of a LoRA adapter to put on the model.")]
PromptFile = Annotated[
    str | None, typer.Option(help="Prompt pack (.toml) that the model was trained with.")
]
Metrics = Annotated[
    str | None,
    typer.Option(help="Metrics to score, e.g. itm,odf; default: all that the scorer has."),
]
Device = Annotated[
    str | None,
    typer.Option(help="Device to run on: cpu, cuda, cuda:1, ...; default: a GPU if there is one."),
]
Dtype = Annotated[
    str | None, typer.Option(help="Precision of the model: float32, bfloat16 or float16.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Pairs per batch; default: the scorer's own.")
]
Kind = Annotated[
    str | None,
    typer.Option(
        help="Input format: webdataset, parquet or folder; detected from the file extension if "
        "omitted."
    ),
]
CaptionField = Annotated[
    str | None,
    typer.Option(
        help="Where the caption is. Tars: the suffix of a member (txt, outputs.txt) or json.PATH. "
        "Parquet: a column, or a path into it (captions.0, caption.en). Folders: the column of "
        "the captions table."
    ),
]
ImageField = Annotated[
    str | None,
    typer.Option(
        help="Where the image is. Tars: the suffix of a member (input.jpg, img). Parquet: a "
        "column, or a path into it (images.0). Folders: the column of the captions table with "
        "the image's path."
    ),
]
CaptionsFile = Annotated[
    str | None,
    typer.Option(
        help="Table with the captions of a folder of images (.csv, .tsv, .jsonl or .parquet), as "
        "a path below the folder."
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(
        help="What separates the fields of a table of captions or judgments: one character, or "
        "comma, tab, semicolon or pipe. Detected from the first line if omitted."
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        help="Encoding of a table of captions or judgments, for example utf-16 or latin-1; "
        "default: UTF-8, or what the file's byte order mark says."
    ),
]


Roots = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        help="Folder where the source shards are now, if they were moved since they were scored. "
        "With several score folders, give it once for all of them or once for each in order.",
    ),
]


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
