"""How every evaluation is written down: Markdown tables, JSON, and a plot where there is one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pairsift.storage import Folder

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows, as text."""


def markdown_table(table: Table, left: int = 1) -> list[str]:
    """Lines of a table, its first `left` columns aligned to the left, the others to the right."""
    header, rows = table
    marks = ["---" if column < left else "---:" for column in range(len(header))]
    # A file's, a scorer's or a category's name may hold a bar.
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in (header, marks, *rows)
    ]


def markdown_page(title: str, *parts: Sequence[str]) -> str:
    """A page of parts with an empty line between them; empty parts are left out."""
    blocks = ["\n".join(part) for part in ([f"# {title}"], *parts) if part]
    return "\n\n".join(blocks).rstrip() + "\n"


def write_evaluation(
    out: str,
    result: Mapping[str, Any],
    page: str,
    picture: bytes | None = None,
    *,
    names: tuple[str, str, str] = ("result.json", "table.md", "plot.svg"),
) -> list[str]:
    """Write JSON, Markdown and, if there is one, SVG into a folder; return the files' names."""
    contents = ((json.dumps(result, indent=1) + "\n").encode(), page.encode(), picture)
    folder = Folder(out)
    folder.create()
    written = []
    for name, content in zip(names, contents, strict=True):
        if content is not None:
            folder.write(name, content)
            written.append(name)
    return written
