"""Find the thresholds in a selection's expressions that a plot can show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pairsift.expressions.parsing import split_conditions
from pairsift.expressions.terms import quoted
from pairsift.report.columns import FINE, ScoreColumn
from pairsift.select import Record, Selection

_CONDITION = re.compile(r"^\s*\(?\s*([\w.]+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*\)?\s*$")


class Condition(NamedTuple):
    """A bound on one column, of ``--where`` or of a cut by one column."""

    column: ScoreColumn
    operator: str
    value: float


def describe(selection: Selection) -> str:
    """Format the options of the selection, as on the command line."""
    asked = selection.record.query
    parts = [str(asked["where"])] if asked.get("where") else []
    per = f" per {asked['per']}" if asked.get("per") else ""
    if asked.get("top") is not None:
        parts.append(f"top {100 * asked['top']:g}% by {asked['by']}{per}")
    if asked.get("count") is not None:
        parts.append(f"best {asked['count']:,} by {asked['by']}{per}")
    if asked.get("sample") is not None:
        parts.append(f"{asked['sample']:,} drawn by {asked['weights']}")
    if asked.get("best_caption"):
        parts.append(f"best caption by {asked['by']}")
    if asked.get("per_group") is not None:
        parts.append(f"{asked['per_group']} per group of copies")
    if asked.get("unique"):
        parts.append("unique")
    return ", ".join(parts) or "everything"


def read_conditions(record: Record, columns: Sequence[ScoreColumn]) -> list[Condition] | None:
    """Return the bounds that define the selection; None if bounds alone do not define it."""
    by_name = {column.name: column for column in columns}
    conditions = []
    query = record.query
    for text in split_conditions(query["where"]) if query.get("where") else []:
        match = _CONDITION.match(text)
        if match is None or match[1] not in by_name:
            return None
        conditions.append(Condition(by_name[match[1]], match[2], float(match[3])))
    if any(query.get(name) for name in ("exclude", "unique", "per_group", "best_caption")):
        return None
    if query.get("sample") is not None:
        return None
    if query.get("by"):
        thresholds = [cut.threshold for cut in record.cuts]
        if len(thresholds) != 1 or thresholds[0] is None or query["by"].strip() not in by_name:
            return None
        conditions.append(Condition(by_name[query["by"].strip()], ">=", thresholds[0]))
    return conditions or None


def margin_sql(conditions: Sequence[Condition]) -> str:
    """Return SQL of a row's distance from the cut, in bars: positive inside, negative outside."""
    distances = [
        f"({'' if c.operator.startswith('>') else '-'}"
        f"({quoted(c.column.name)}::DOUBLE - {c.value!r}) / {c.column.width!r})"
        for c in conditions
    ]
    nulls = " OR ".join(f"{quoted(c.column.name)} IS NULL" for c in conditions)
    return f"CASE WHEN {nulls} THEN NULL ELSE least({', '.join(distances)}) END"


def slider_steps(
    conditions: Sequence[Condition], columns: Sequence[ScoreColumn]
) -> list[int] | None:
    """Return the slider positions of exactly this cut; None if there are none."""
    steps = [0] * len(columns)
    names = [column.name for column in columns]
    for condition in conditions:
        if condition.operator != ">=" or condition.column.name not in names:
            return None
        index = names.index(condition.column.name)
        column = columns[index]
        step = round((condition.value - column.low) / column.width * FINE)
        if not 0 < step <= column.bars * FINE or column.edge(step, FINE) != condition.value:
            return None
        steps[index] = max(steps[index], step)
    return steps
