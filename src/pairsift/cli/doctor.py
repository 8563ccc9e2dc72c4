"""`pairsift doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit, table


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Print Markdown to paste into an issue; it has no paths and no names."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show what is installed, which device is used, what is missing and how to get it."""
    from pairsift.doctor import examine

    findings = examine()
    emit(findings.to_json(), json, findings.report() if report else table(findings.lines()))
