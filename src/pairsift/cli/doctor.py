"""`pairsift doctor`."""

from __future__ import annotations

import typer

from pairsift.cli.common import Json, emit, table


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(json: Json = False) -> None:
    """Tell what is installed, which device is used, what is missing and how to get it."""
    from pairsift.doctor import examine

    findings = examine()
    emit(findings.to_json(), json, table(findings.lines()))
