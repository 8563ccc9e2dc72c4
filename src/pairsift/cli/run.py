"""`pairsift run`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit, end_scoring, tell


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(
    config: Annotated[
        str, typer.Argument(help="TOML or YAML file; its keys are those of the steps' options.")
    ],
    json: Json = False,
) -> None:
    """Run all steps, from score to report, with the settings of one file.

    Run it again to continue after a stop.
    """
    from pairsift.cli.progress import ProgressDisplay
    from pairsift.config import read_config
    from pairsift.pipeline import run_pipeline

    with ProgressDisplay() as progress:
        result = run_pipeline(read_config(config), progress)
    tell(result.notes)
    emit(result.to_json(), json, result.text())
    end_scoring(result.score)
