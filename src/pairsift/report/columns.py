"""Which columns of a score table are scores, and how their range is divided into bins."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pairsift.expressions.terms import quoted
from pairsift.hashing import HASH_COLUMNS
from pairsift.metrics import Metric
from pairsift.scorers.caption_index import CAPTION_INDEX
from pairsift.scores import COMPANIONS, IDENTITY_FIELDS, schema_metrics

_IDENTITY = {field.name for field in IDENTITY_FIELDS} | {*HASH_COLUMNS, CAPTION_INDEX}

_OTHER = "A column of the score table, over its range without the most extreme values."

# A bar's steps are this share of it, and `tidy` would make narrower ones zero.
_NARROWEST = 1e-11

BARS = 20
"""Approximate number of bars in a histogram."""
FINEST = 10
"""Steps per bar that are stored for each row."""
FINE = 5
"""Steps per bar of a slider: one point for a metric; it divides `FINEST`."""
SPLITS = (FINE, 1)
"""Possible threshold steps per bar of a joint count, finest first; they divide `FINE`."""


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """A numeric column and its bars: ``[low + k * width, low + (k + 1) * width)`` for k < bars.

    Values outside belong to the first or the last bar. ``high`` itself is in the last bar.
    """

    name: str
    title: str
    asks: str
    low: float
    width: float
    bars: int
    single: bool = True
    """Stored as float32."""
    lower_is_better: bool = False
    metric: bool = False
    """The table says what it means: a question that a model was asked."""

    @property
    def high(self) -> float:
        return self.low + self.bars * self.width

    def edge(self, step: int, split: int) -> float:
        """Return threshold `step` (0 is ``low``) if each bar has `split` steps."""
        return tidy(self.low + step * self.width / split)

    def step_sql(self) -> str:
        """Return SQL for the highest of the finest steps that a value reaches, from 1 (``low``) on;
        0 is null.

        Values below ``low`` count as reaching it, so there is no threshold at ``low``. If steps are
        not binary fractions, the nearest edges are compared as in ``--where``, in the column's own
        type: 0.35 stored as float32 is slightly below 0.35, but passes ``>= 0.35``.
        """
        name, step = quoted(self.name), tidy(self.width / FINEST)
        below = f"floor(({name}::DOUBLE - {self.low!r}) / {step!r})"
        if not _exact(self.low) or not _exact(step):
            kind = "FLOAT" if self.single else "DOUBLE"
            edge, following = (
                f"round({self.low!r} + {at} * {step!r}, 12)::{kind}"
                for at in (below, f"({below} + 1)")
            )
            below = f"({below} - ({name} < {edge})::INT + ({name} >= {following})::INT)"
        reached = f"greatest(0, least({self.bars * FINEST}, {below}))::UTINYINT + 1"
        return f"CASE WHEN {name} IS NULL OR isnan({name}::DOUBLE) THEN 0 ELSE {reached} END"


def score_names(schema: pa.Schema) -> list[str]:
    """Return the names of the score columns: metrics in the order of the table, then others."""
    names = [
        field.name
        for field in schema
        if (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        and is_score_name(field.name)
    ]
    metrics = schema_metrics(schema)
    return [*(m for m in metrics if m in names), *(n for n in names if n not in metrics)]


def is_score_name(name: str) -> bool:
    """Whether a numeric column of this name is a score, and not an identity or a companion."""
    return name not in _IDENTITY and not name.endswith(COMPANIONS)


def slice_names(schema: pa.Schema, asked: Iterable[str] = ()) -> list[str]:
    """Return the names of columns that divide the pairs into kinds, such as ``language``."""
    texts = [
        field.name
        for field in schema
        if (pa.types.is_string(field.type) or pa.types.is_dictionary(field.type))
        and field.name not in _IDENTITY
    ]
    return [name for name in texts if name in (tuple(asked) or texts)]


def flag_names(schema: pa.Schema) -> list[str]:
    """Return the names of the columns of true and false."""
    return [field.name for field in schema if pa.types.is_boolean(field.type)]


def metric_column(metric: Metric, single: bool = True) -> ScoreColumn:
    """The column of a metric, over the whole of its scale.

    Args:
        single: whether it is stored as float32.
    """
    scale = metric.scale
    width = _nice((scale.high - scale.low) / BARS)
    bars = math.ceil((scale.high - scale.low) / width - 1e-9)
    return ScoreColumn(
        metric.name, metric.title, metric.asks, scale.low, width, bars, single,
        lower_is_better=metric.better == "lower", metric=True,
    )  # fmt: skip


def other_column(field: pa.Field, smallest: float, largest: float) -> ScoreColumn:
    """Return any other column, with its range in the data without outliers."""
    title = field.name.replace("_", " ").replace(".", ": ").capitalize()
    width = _nice((largest - smallest) / BARS)
    if pa.types.is_integer(field.type):
        width = max(width, 1.0)
    low = math.floor(smallest / width + 1e-9) * width
    bars = max(1, math.ceil((largest - low) / width - 1e-9))
    single = pa.types.is_float32(field.type)
    return ScoreColumn(field.name, title, _OTHER, tidy(low), tidy(width), bars, single)


def tidy(number: float) -> float:
    """Remove rounding errors of binary fractions: 0.30000000000000004 becomes 0.3."""
    return float(round(number, 12)) + 0.0


def _nice(width: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `width`."""
    if not width > 0:
        return 1.0
    width = max(width, _NARROWEST)
    power = 10.0 ** math.floor(math.log10(width))
    return next(tidy(f * power) for f in (1, 2, 5, 10) if f * power >= width * (1 - 1e-9))


def _exact(number: float) -> bool:
    """Return whether sums of a few such numbers are exact, also in float32."""
    return (number * 8).is_integer()
