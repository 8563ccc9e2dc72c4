"""`pairsift status`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.errors import PairsiftError


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(
    scores: Annotated[str, typer.Argument(help="Score folder that `pairsift score` writes.")],
    all_tables: Annotated[
        bool,
        typer.Option("--all", help="Read all tables instead of a sample of 500."),
    ] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print metrics in the Prometheus text format.")
    ] = False,
    failures: Annotated[
        bool,
        typer.Option(
            "--failures",
            help="List failed samples by status, with their errors, instead of the progress.",
        ),
    ] = False,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="With --failures: number of failed samples to list for each status."
        ),
    ] = 10,
    json: Json = False,
) -> None:
    """Show the progress of scoring: shards, rows by status, rate, time left, failures."""
    from pairsift.status import SAMPLE, read_failures, read_status, to_prometheus, to_text

    if prometheus and json:
        raise PairsiftError("--json and --prometheus cannot be used together; give one")
    if failures:
        if prometheus:
            raise PairsiftError("--failures and --prometheus cannot be used together; give one")
        listed = read_failures(scores, limit)
        emit(listed.to_json(), json, listed.text())
        return
    found = read_status(scores, sample=None if all_tables else SAMPLE)
    emit(found.to_json(), json, to_prometheus(found) if prometheus else to_text(found))
