"""`pairsift write`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.errors import PairsiftError
from pairsift.options import WriteOptions


def register(app: typer.Typer) -> None:
    app.command()(write)


@with_options(options=WriteOptions)
def write(
    options: WriteOptions,
    selection: Annotated[str, typer.Argument(help="Folder that `pairsift select` wrote.")],
    json: Json = False,
) -> None:
    """Write a selection as data to train on."""
    from dataclasses import asdict

    from pairsift.select import read_selection
    from pairsift.writers.registry import outputs_of, write_outputs

    asked = outputs_of(options)
    if options.add_scores and not asked.keys() - {"datacomp", "dataset", "parquet"}:
        raise PairsiftError("--add-scores is for --webdataset and --buckets; give one of them")
    written = write_outputs(read_selection(selection), options)
    emit(
        {name: asdict(outcome) for name, outcome in written.items()},  # type: ignore[call-overload]
        json,
        "\n".join(line for outcome in written.values() for line in outcome.lines()),
    )
