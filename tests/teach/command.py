"""The command line with the commands under test, to be run as a process of its own."""

from __future__ import annotations

import sys

import typer

from pairsift.cli import balance, evaluate, teach
from pairsift.errors import PairsiftError

app = typer.Typer(pretty_exceptions_enable=False)
for module in (teach, balance, evaluate):
    module.register(app)

if __name__ == "__main__":
    try:
        app()
    except PairsiftError as error:
        sys.exit(f"pairsift: {error}")
