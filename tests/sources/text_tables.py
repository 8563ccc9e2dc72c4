"""Small tables of captions as text, and what is read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairsift.sources.rows import Lost, Row
from pairsift.sources.tables import TableReader


def entries_of(path: Path, **options: Any) -> list[Row | Lost]:
    with TableReader(str(path), **options) as table:
        return list(table)


def told(path: Path, **options: Any) -> list[Any]:
    """The caption of every row, the line of every loss."""
    return [
        entry.fields["caption"] if isinstance(entry, Row) else entry.line
        for entry in entries_of(path, **options)
    ]


def table(tmp_path: Path, lines: list[str], name: str = "t.csv", header: str = "") -> Path:
    separator = "\t" if ".tsv" in name else ","
    text = "\n".join([header or f"image{separator}caption", *lines]) + "\n"
    (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / name
