"""Values and conditions in SQL: literals, names and columns, each with the type of its value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The type of a value. Every operator takes only one kind."""

    NUMBER = "a number"
    TEXT = "text"
    BOOLEAN = "a condition"
    OTHER = "no number, text or condition, and only `is null` can be asked of it"


@dataclass(frozen=True, slots=True)
class Term:
    """A piece of an expression in SQL.

    Attributes:
        single: whether it is a float32 column, unchanged. A number compared with it is rounded to
            float32 too, so that ``itm >= 66.1`` holds for the stored score that prints as 66.1.
        constant: its value, if it is a number that does not depend on the row.
        columns: names of the columns that it reads.
    """

    sql: str
    kind: Kind
    single: bool = False
    constant: float | None = None
    columns: frozenset[str] = frozenset()

    @property
    def plain(self) -> bool:
        """Whether it is a column or a constant, not a computed value."""
        return self.single or self.constant is not None


Columns = Mapping[str, Term]


def number_sql(value: float, single: bool = False) -> str:
    """Return a literal that the database reads as exactly the double, or float32, `value`."""
    text = repr(float(value))
    if math.isfinite(value):
        literal = text if "e" in text else f"{text}e0"
    else:
        literal = f"'{text}'::DOUBLE"
    literal = f"({literal})" if literal.startswith("-") else literal
    return f"CAST({literal} AS FLOAT)" if single else literal


def text_sql(value: str) -> str:
    """Return a string literal."""
    return "'" + value.replace("'", "''") + "'"


def column_term(name: str, sql: str, type_name: str) -> Term:
    """Return the term for a column of a DuckDB type.

    Dates, times and UUIDs become strings in ISO 8601 and similar forms, which sort correctly.
    """
    columns = frozenset([name])
    type_name = type_name.upper()
    if type_name.endswith("]"):  # a list of any type
        return Term(sql, Kind.OTHER, columns=columns)
    if type_name in ("FLOAT", "REAL"):
        return Term(sql, Kind.NUMBER, single=True, columns=columns)
    if type_name == "BOOLEAN":
        return Term(sql, Kind.BOOLEAN, columns=columns)
    if type_name == "VARCHAR" or type_name.startswith("ENUM"):
        return Term(sql, Kind.TEXT, columns=columns)
    if re.match(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|DECIMAL)\b", type_name):
        return Term(f"CAST({sql} AS DOUBLE)", Kind.NUMBER, columns=columns)
    if re.match(r"(DATE|TIME|TIMESTAMP.*|TIME .*|UUID)$", type_name):
        return Term(f"CAST({sql} AS VARCHAR)", Kind.TEXT, columns=columns)
    return Term(sql, Kind.OTHER, columns=columns)


def quoted(name: str) -> str:
    """Return a column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def ranking(term: Term) -> str:
    """Return SQL of a value to compare, rank or group rows by.

    NaN, which the database sorts above every number, is replaced by null.
    """
    if term.kind is not Kind.NUMBER or term.constant is not None:
        return term.sql
    return f"nullif({term.sql}, 'nan'::{'FLOAT' if term.single else 'DOUBLE'})"
