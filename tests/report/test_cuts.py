"""What a report says of a selection's cut, and when a plot can show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pairsift.metrics import METRICS
from pairsift.report.columns import ScoreColumn, metric_column, other_column
from pairsift.report.cuts import Condition, describe, margin_sql, read_conditions, slider_steps
from pairsift.report.table import open_rows
from pairsift.select import Cut, Record, Selection, select
from tests.report.conftest import Scored
from tests.score_folders import random_scores

ITM, ODF = (metric_column(METRICS[name]) for name in ("itm", "odf"))
CLIP = other_column(pa.field("x.clip", pa.float32()), 0.0, 0.4)
COLUMNS = [ITM, ODF, CLIP]


def record(threshold: float | None = None, cuts: int = 1, **query: Any) -> Record:
    """The record of a query, with this many cuts at the threshold."""
    made = [Cut(None, 10, 5, threshold)] * (cuts if query.get("by") else 0)
    return Record(query, [], {}, 10, {}, [], made, 5)


def bounds(found: list[Condition] | None) -> list[tuple[str, str, float]] | None:
    return found and [(each.column.name, each.operator, each.value) for each in found]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "everything"),
        ({"where": "itm >= 40"}, "itm >= 40"),
        ({"top": 0.29, "by": "itm"}, "top 29% by itm"),
        ({"top": 0.0, "by": "itm"}, "top 0% by itm"),
        ({"count": 0, "by": "itm"}, "best 0 by itm"),
        ({"where": "odf > 3", "count": 12345, "by": "itm", "per": "language"},
         "odf > 3, best 12,345 by itm per language"),
        ({"unique": True, "by": "itm"}, "unique"),
        ({"groups": "g", "per_group": 2, "by": "itm"}, "2 per group of copies"),
        ({"best_caption": True, "by": "itm"}, "best caption by itm"),
        ({"where": "itm > 3", "sample": 1000, "weights": "exp(itm)"},
         "itm > 3, 1,000 drawn by exp(itm)"),
    ],
)  # fmt: skip
def test_a_selection_in_words(query: dict[str, Any], words: str) -> None:
    assert describe(Selection(record(**query))) == words


@pytest.mark.parametrize(
    "options",
    [
        {"unique": True, "by": "itm"},
        {"sample": 5, "weights": "itm"},
        {"count": 3, "by": "odf"},
    ],
)
def test_every_selection_that_can_be_made_has_words(tmp_path: Path, options: Any) -> None:
    scores, _ = random_scores(tmp_path / "s", np.random.default_rng(0))
    assert describe(select(scores, **options)) != "everything"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"where": "itm >= 40 and odf < 3.5"}, [("itm", ">=", 40.0), ("odf", "<", 3.5)]),
        ({"where": "(itm > -1) and x.clip <= 0.3"}, [("itm", ">", -1.0), ("x.clip", "<=", 0.3)]),
        ({"top": 0.5, "by": " itm "}, [("itm", ">=", 62.0)]),
        ({"where": "odf >= 1", "count": 5, "by": "itm"}, [("odf", ">=", 1.0), ("itm", ">=", 62.0)]),
        ({}, None),
        ({"where": "itm >= 40 or odf >= 3"}, None),
        ({"where": "itm >= odf"}, None),
        ({"where": "width >= 40"}, None),
        ({"where": "itm >= p50(itm)"}, None),
        ({"top": 0.5, "by": "itm + odf"}, None),
        ({"where": "itm >= 40", "exclude": ["list.npy"]}, None),
        ({"where": "itm >= 40", "unique": True}, None),
        ({"where": "itm >= 40", "groups": "g", "per_group": 1}, None),
        ({"where": "itm >= 40", "best_caption": True, "by": "itm"}, None),
        ({"where": "itm >= 40", "sample": 5, "weights": "itm"}, None),
    ],
)
def test_only_bounds_that_alone_define_the_selection_are_read(
    query: dict[str, Any], expected: list[tuple[str, str, float]] | None
) -> None:
    assert bounds(read_conditions(record(62.0, **query), COLUMNS)) == expected


@pytest.mark.parametrize(("threshold", "cuts"), [(None, 1), (62.0, 0), (62.0, 2)])
def test_several_cuts_or_none_are_no_bound(threshold: float | None, cuts: int) -> None:
    made = record(threshold, cuts, top=0.5, by="itm", per="language")
    assert read_conditions(made, COLUMNS) is None


def test_the_margin_is_the_smallest_distance_in_bars() -> None:
    conditions = [Condition(ITM, ">=", 40.0), Condition(ODF, "<", 20.0)]
    rows = [(45, 10, 1.0), (41, 10, 0.2), (50, 30, -2.0), (30, 25, -2.0), (40, 20, 0.0)]
    for itm, odf, expected in rows:
        sql = f"SELECT {margin_sql(conditions)} FROM (SELECT {itm} AS itm, {odf} AS odf)"
        assert duckdb.sql(sql).fetchall() == [(expected,)]
    missing = duckdb.sql(f"SELECT {margin_sql(conditions)} FROM (SELECT 50 AS itm, NULL AS odf)")
    assert missing.fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("conditions", "steps"),
    [
        ([(ITM, ">=", 40)], [40, 0, 0]),
        ([(ITM, ">=", 40), (CLIP, ">=", 0.1)], [40, 0, 25]),
        ([(ITM, ">=", 40), (ITM, ">=", 30)], [40, 0, 0]),
        ([(ITM, ">=", 100)], [100, 0, 0]),
        ([(ITM, ">=", 40.5)], None),
        ([(ITM, ">", 40)], None),
        ([(ITM, ">=", 0)], None),  # every row
        ([(ITM, ">=", 101)], None),
        ([(metric_column(METRICS["su"]), ">=", 40)], None),
    ],
)
def test_sliders_start_only_at_exactly_this_cut(
    conditions: list[tuple[ScoreColumn, str, float]], steps: list[int] | None
) -> None:
    assert slider_steps([Condition(*each) for each in conditions], COLUMNS) == steps


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"where": "itm >= 40.5"}, None),  # between two steps of 1
        ({"where": "itm >= 40 or odf >= 3"}, None),
        ({"where": "itm < 40"}, None),
        ({"where": "itm >= 10", "top": 0.5, "by": "odf"}, None),
        ({"where": "itm >= 40"}, [40, 0, 0]),
    ],
)
def test_sliders_of_a_selection(
    scored: Scored, options: dict[str, object], steps: list[int] | None
) -> None:
    selection = select(scored.scores, **options)  # type: ignore[arg-type]
    with open_rows(scored.scores) as rows:
        conditions = read_conditions(selection.record, rows.columns)
        found = slider_steps(conditions, rows.columns) if conditions else None
    assert found == steps
