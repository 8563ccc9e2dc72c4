"""`pairsift demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    out: Annotated[str, typer.Option(help="Folder for everything the demo writes.")] = (
        "pairsift-demo"
    ),
    scorer: Annotated[str, typer.Option(help="Scorer to run.")] = "pairsift-tiny",
    json: Json = False,
) -> None:
    """Score real photographs with the embedded filter, select the best, and write a report."""
    from pairsift.demo.run import run_demo

    summary = run_demo(out, scorer)
    emit(summary.to_json(), json, summary.text())
