"""Shared code of the `pairsift evaluate` commands: lists of names, progress, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import typer

from pairsift.cli.common import emit
from pairsift.printable import printable

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows of a table."""


class Result(Protocol):
    """The result of an evaluation."""

    def to_json(self) -> dict[str, Any]: ...

    def notes(self) -> list[str]: ...


def split(names: str | None) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def split_all(names: Sequence[str]) -> list[str]:
    """Split the names of an option that may also be repeated."""
    return [name for joined in names for name in split(joined)]


def show_result(
    result: Result,
    tables: Mapping[str, Table],
    out: str,
    as_json: bool,
    left: int = 1,
) -> None:
    """Print an evaluation, as JSON or as text.

    Args:
        tables: tables by title, which may be empty.
        out: where the evaluation was written.
        left: number of columns that are left-aligned.
    """
    if as_json:
        emit(result.to_json(), True, "")
        return
    for title, table in tables.items():
        print_table(*table, title=title, left=left)
    for note in [*result.notes(), f"Written to {out}"]:
        typer.echo(printable(note))


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", left: int = 1
) -> None:
    """Print a table; its first `left` columns are left-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(printable(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD
    )
    for index, name in enumerate(header):
        table.add_column(
            Text(printable(name)), justify="left" if index < left else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # A pipe or a log file has no width, so nothing is wrapped there.
    Console(width=None if Console().is_terminal else 400).print(table)
