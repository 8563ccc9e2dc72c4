"""Options and output that several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pairsift.errors import PairsiftError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
Kind = Annotated[
    str | None, typer.Option(help="webdataset, parquet or folder, if not plain to see.")
]
CaptionField = Annotated[
    str | None, typer.Option(help="Member suffix, column or CSV field that holds the caption.")
]
ImageField = Annotated[
    str | None, typer.Option(help="Column with the image (parquet) or its path (folder CSV).")
]
CaptionsFile = Annotated[
    str | None, typer.Option(help="CSV with the captions of a folder of images.")
]


def emit(result: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print a command's result, for a machine or for a person."""
    typer.echo(json.dumps(result, indent=1, default=str) if as_json else text)


def parse_part(value: str | None) -> tuple[int, int] | None:
    """Read `--part i/n`.

    Raises:
        PairsiftError: it has another form.
    """
    if value is None:
        return None
    index, slash, count = value.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(count) > 0):
        raise PairsiftError(f"--part {value!r}: write it as i/n, for example 1/8")
    return int(index), int(count)


def table(rows: list[tuple[str, str]]) -> str:
    """Two aligned columns."""
    width = max((len(left) for left, _ in rows), default=0)
    return "\n".join(f"{left:<{width}}  {right}" for left, right in rows)
