"""Which columns are scores, and where their bars and steps lie."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pairsift.metrics import METRICS, Metric, Scale
from pairsift.report.columns import (
    FINEST,
    ScoreColumn,
    is_score_name,
    metric_column,
    other_column,
    score_names,
    slice_names,
)
from pairsift.scores import metric_field


def column(low: float, high: float, kind: pa.DataType | None = None) -> ScoreColumn:
    return other_column(pa.field("clip.my_score", kind or pa.float32()), low, high)


def steps(column: ScoreColumn, values: list[float | None], kind: str) -> list[int]:
    """The stored step of each value."""
    texts = ["NULL" if value is None else f"'{value!r}'" for value in values]
    rows = ", ".join(f"({place}, {text}::{kind})" for place, text in enumerate(texts))
    table = f'(VALUES {rows}) AS t(place, "{column.name}")'
    found = duckdb.sql(f"SELECT {column.step_sql()} FROM {table} ORDER BY place").fetchall()
    return [step for (step,) in found]


def test_scores_are_numbers_that_are_neither_identity_nor_companions() -> None:
    schema = pa.schema(
        [
            ("shard", pa.string()), ("key", pa.string()), ("width", pa.int32()),
            ("caption_index", pa.int32()), ("image_phash", pa.uint64()),
            ("sharpness", pa.float64()), ("itm_std", pa.float32()), ("words", pa.int32()),
            ("language", pa.string()),
            metric_field(METRICS["ctq"]), metric_field(METRICS["itm"]),
            ("passes", pa.bool_()), ("kind", pa.dictionary(pa.int32(), pa.string())),
        ]
    )  # fmt: skip
    assert score_names(schema) == ["ctq", "itm", "sharpness", "words"]
    assert slice_names(schema) == ["language", "kind"]
    assert slice_names(schema, ["kind", "nothing"]) == ["kind"]
    assert not is_score_name("itm_top")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, (0.0, 0.05, 20)),
        (0.1, 0.1, (0.0, 1.0, 1)),  # one value
        (-3.0, -1.0, (-3.0, 0.1, 20)),
        (-0.02, 37.0, (-2.0, 2.0, 20)),
        (2.0, 1e6, (0.0, 50_000.0, 20)),
        (0.0, 1e-12, (0.0, 1e-11, 1)),  # narrower bars could not be told apart
        (3e-13, 1e-10, (0.0, 1e-11, 10)),
        (1e20, 1e20, (1e20, 1.0, 1)),
    ],
)
def test_bars_have_round_widths_and_cover_the_range(
    low: float, high: float, expected: tuple[float, float, int]
) -> None:
    found = column(low, high, pa.float64())
    assert (found.low, found.width, found.bars) == expected
    assert found.low <= low
    assert found.high >= high - 1e-15


def test_bars_of_whole_numbers_are_at_least_one_wide() -> None:
    assert column(0, 3, pa.int32()).width == 1
    assert column(0, 3, pa.float64()).width == 0.2
    assert column(0, 1000, pa.int64()).width == 50


def test_titles_of_other_columns_are_their_names_in_words() -> None:
    assert column(0, 1).title == "Clip: my score"


@pytest.mark.parametrize(
    ("scale", "low", "width", "bars"),
    [
        (Scale.range(0, 100), 0, 5, 20),
        (Scale.range(1, 5), 1, 0.2, 20),
        (Scale.listed({"no": 0, "yes": 1}), 0, 0.05, 20),
        (Scale.range(-2, 1), -2, 0.2, 15),
    ],
)
def test_a_metric_has_bars_over_its_whole_scale(
    scale: Scale, low: float, width: float, bars: int
) -> None:
    found = metric_column(Metric("m", "M", "m", "How much?", scale, better="lower"))
    assert (found.low, found.width, found.bars) == (low, width, bars)
    assert found.high == pytest.approx(scale.high)
    assert (found.metric, found.lower_is_better, found.asks) == (True, True, "How much?")


@pytest.mark.parametrize(("kind", "single"), [("FLOAT", True), ("DOUBLE", False)])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.3, 0.7), (0.0, 100.0), (0.0, 3e-4)])
def test_a_step_is_reached_by_what_passes_its_edge(
    low: float, high: float, kind: str, single: bool
) -> None:
    """As in a condition: an edge is compared in the type of the column."""
    found = column(low, high, pa.float32() if single else pa.float64())
    number = np.float32 if single else np.float64
    edges = [found.edge(step, FINEST) for step in range(found.bars * FINEST + 1)]
    rng = np.random.default_rng(0)
    values = [float(number(edge)) for edge in edges]
    values += [float(np.nextafter(number(edge), number(-math.inf))) for edge in edges]
    values += rng.uniform(low, high, 100).astype(number).tolist()
    expected = [
        1 + max([step for step, edge in enumerate(edges) if number(value) >= number(edge)] or [0])
        for value in values
    ]
    assert steps(found, list(values), kind) == expected


def test_what_is_no_number_has_no_step_and_what_is_outside_the_nearest() -> None:
    values = [None, math.nan, -math.inf, math.inf, -5.0, 5.0]
    last = 20 * FINEST + 1
    assert steps(column(0, 1), values, "FLOAT") == [0, 0, 1, last, 1, last]
