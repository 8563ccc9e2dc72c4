"""Options and expressions of a query that are refused before any row is read."""

from __future__ import annotations

from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.database import open_database, run_sql
from pairsift.expressions.terms import Columns
from pairsift.select.checks import check_expressions, check_options, check_sample
from pairsift.select.pool import score_columns

NO_OPTIONS: dict[str, Any] = {
    "top": None, "count": None, "by": None, "per": None, "groups": None, "per_group": None,
    "best_caption": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def columns() -> Columns:
    with open_database() as connection:
        run_sql(
            connection,
            "CREATE TABLE t (pos BIGINT, itm FLOAT, odf FLOAT, language VARCHAR, taken DATE, "
            "tags VARCHAR[])",
        )
        return score_columns(connection, "t")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"best_caption": True}, "--best-caption needs --by"),
        ({"groups": "g", "by": "itm"}, "belong together"),
        ({"per_group": 1, "by": "itm"}, "belong together"),
        ({"groups": "g", "per_group": 0}, "--per-group 0: keep at least 1 row"),
        ({"top": 0.1, "count": 1, "by": "itm"}, "--top and --count cannot be used together"),
        ({"top": 1.01, "by": "itm"}, "--top 1.01 is not a fraction from 0 to 1"),
        ({"top": float("nan"), "by": "itm"}, "--top nan is not a fraction"),
        ({"top": -0.1, "by": "itm"}, "is not a fraction"),
        ({"count": -1, "by": "itm"}, "--count -1 is negative"),
        ({"top": 0.1}, "needs --by"),
        ({"by": "itm"}, "--by needs one of them"),
        ({"per": "language", "by": "itm", "unique": True}, "--per applies --top to each group"),
    ],
)
def test_options_that_do_not_go_together(given: dict[str, Any], words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        check_options(**{**NO_OPTIONS, **given})


@pytest.mark.parametrize(
    "given",
    [
        {}, {"top": 0, "by": "itm"}, {"top": 1, "by": "itm"}, {"count": 0, "by": "itm"},
        {"unique": True}, {"unique": True, "by": "itm"}, {"best_caption": True, "by": "itm"},
        {"groups": "g", "per_group": 1}, {"groups": "g", "per_group": 1, "by": "itm"},
        {"top": 0.5, "by": "itm", "per": "language"},
    ],
)  # fmt: skip
def test_options_that_go_together(given: dict[str, Any]) -> None:
    check_options(**{**NO_OPTIONS, **given})


@pytest.mark.parametrize(
    ("sample", "weights", "penalty", "ranks", "words"),
    [
        (5, None, 1.0, False, "belong together"),
        (None, "itm", 1.0, False, "belong together"),
        (5, "itm", 1.0, True, "--sample draws rows, --top and --count cut"),
        (-1, "itm", 1.0, False, "--sample -1 is negative"),
        (5, "itm", -0.5, False, "--repeat-penalty -0.5: give 0, a positive number, or inf"),
        (5, "itm", float("nan"), False, "--repeat-penalty nan"),
    ],
)
def test_samples_that_cannot_be_drawn(
    sample: int | None, weights: str | None, penalty: float, ranks: bool, words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        check_sample(sample, weights, penalty, ranks=ranks)


def test_without_a_sample_the_penalty_does_not_matter() -> None:
    check_sample(None, None, float("nan"), ranks=True)
    check_sample(0, "itm", float("inf"), ranks=False)


def test_used_columns_include_those_in_percentiles(columns: Columns) -> None:
    used = check_expressions(columns, "itm >= p70(odf)", "itm", "language", "exp(itm/20)")
    assert used == {"itm", "odf", "language"}
    assert check_expressions(columns, None, None, None) == set()


@pytest.mark.parametrize(
    ("where", "by", "per", "words"),
    [
        ("itm", None, None, '--where "itm" is a number; .* for example "itm >= 66"'),
        (None, "itm >= 3", None, '--by "itm >= 3" is .* for example "itm"'),
        (None, "language", None, '--by "language" is text'),
        (None, "itm", "tags", '--per "tags" is .*; group by another column'),
        ("nothing > 3", None, None, "nothing"),
    ],
)
def test_expressions_of_another_kind(
    columns: Columns, where: str | None, by: str | None, per: str | None, words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        check_expressions(columns, where, by, per)
