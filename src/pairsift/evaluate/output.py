"""Write the results of an evaluation: Markdown tables, JSON and, if there is one, a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pairsift.storage import Folder

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows, as text."""


def markdown_table(table: Table, left: int = 1) -> list[str]:
    """Return the lines of a table; only the first `left` columns are left-aligned."""
    header, rows = table
    marks = ["---" if column < left else "---:" for column in range(len(header))]
    # The name of a file, scorer or category may contain a bar.
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in (header, marks, *rows)
    ]


def markdown_page(title: str, *parts: Sequence[str]) -> str:
    """Join parts with an empty line between them; empty parts are left out."""
    blocks = ["\n".join(part) for part in ([f"# {title}"], *parts) if part]
    return "\n\n".join(blocks).rstrip() + "\n"


def write_evaluation(
    out: str,
    result: Mapping[str, Any],
    page: str,
    pictures: Mapping[str, bytes] = MappingProxyType({}),
    *,
    names: tuple[str, str] = ("result.json", "table.md"),
) -> list[str]:
    """Write an evaluation into a folder.

    Args:
        result: the content of the JSON file.
        page: the Markdown page.
        pictures: content by file name, as the `pictures` functions of the plot modules return it.
        names: of the JSON and the Markdown file.

    Returns:
        the names of the files written.
    """
    folder = Folder(out)
    folder.create()
    as_json = (json.dumps(result, indent=1) + "\n").encode()
    contents = {names[0]: as_json, names[1]: page.encode(), **pictures}
    for name, content in contents.items():
        folder.write(name, content)
    return list(contents)
