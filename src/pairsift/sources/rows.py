"""A line of a table: a row, or a line that is lost and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_LINE_CHARACTERS = 8 * 2**20

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row; `line` is where it begins, from 1 (in JSON lists and parquet, its number)."""

    line: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class Lost:
    """A line that cannot be read as a row.

    Attributes:
        why: the reason in words, without the line's number.
        fields: the fields that could be read.
        too_long: whether it has more than `MAX_LINE_CHARACTERS`; the last of `fields` is truncated.
    """

    line: int
    why: str
    fields: Fields = field(default_factory=dict)
    too_long: bool = False
