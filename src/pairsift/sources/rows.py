"""What a line of a table is: a row, or a loss that is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_LINE_CHARACTERS = 8 * 2**20

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row; `line` is where it begins, from 1 (in JSON lists and parquet its number)."""

    line: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class Lost:
    """A line that is no row.

    Attributes:
        why: in words, without the line's number.
        fields: what could be read of it.
        too_long: it has more than `MAX_LINE_CHARACTERS`; the last of `fields` is cut.
    """

    line: int
    why: str
    fields: Fields = field(default_factory=dict)
    too_long: bool = False
