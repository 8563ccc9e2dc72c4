"""Counts over all rows. Nothing here grows with the number of rows, only with the bins."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairsift.pair import Status
from pairsift.report.columns import SPLITS, ScoreColumn, quoted
from pairsift.report.table import ScoredRows, split_position

CUBE_COLUMNS = 5
CUBE_CELLS = 300_000
FAILURE_EXAMPLES = 5
SLICE_VALUES = 15

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the rows."""

    rows: int
    kept: int
    dropped: int
    failed: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason for rows without scores, with examples as (shard, key, error)."""

    status: Status
    count: int
    examples: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Rows per bar of a column; `null` counts ok rows that have no value."""

    column: ScoreColumn
    kept: Counts
    dropped: Counts
    null: int


@dataclass(frozen=True, slots=True)
class Cube:
    """Joint counts of the ok rows over several binned columns; empty cells are left out.

    Attributes:
        split: threshold steps per bar of a histogram.
        steps: (cells, columns), the highest threshold reached per column from 1 on; 0 is null.
        kept, dropped: (cells,), rows.
    """

    columns: tuple[ScoreColumn, ...]
    split: int
    steps: npt.NDArray[np.int32]
    kept: Counts
    dropped: Counts

    def histogram(self, index: int) -> Histogram:
        """Marginal of one column."""
        column = self.columns[index]
        bar = self._bars(index)
        kept = np.bincount(bar, self.kept, column.bars + 1).astype(np.int64)
        dropped = np.bincount(bar, self.dropped, column.bars + 1).astype(np.int64)
        return Histogram(column, kept[1:], dropped[1:], int(kept[0] + dropped[0]))

    def joint(self, across: int, up: int) -> tuple[Counts, Counts]:
        """Kept and dropped rows, each (bars of `across`, bars of `up`); nulls are left out."""
        shape = (self.columns[across].bars + 1, self.columns[up].bars + 1)
        flat = np.ravel_multi_index((self._bars(across), self._bars(up)), shape)
        both = [
            np.bincount(flat, counts, shape[0] * shape[1]).astype(np.int64).reshape(shape)[1:, 1:]
            for counts in (self.kept, self.dropped)
        ]
        return both[0], both[1]

    def count(self, thresholds: dict[str, int]) -> int:
        """Rows that reach every given threshold (column name to step)."""
        passes = np.ones(len(self.kept), dtype=bool)
        for index, column in enumerate(self.columns):
            if column.name in thresholds:
                # Step 0 of an edge is `low`; a value at or above edge k has reached step k + 1.
                passes &= self.steps[:, index] > thresholds[column.name]
        return int((self.kept + self.dropped)[passes].sum())

    def _bars(self, index: int) -> npt.NDArray[np.int32]:
        """Bar number from 1 on; 0 is null. The topmost step, ``high`` alone, joins the last bar."""
        steps = self.steps[:, index]
        bars = (np.maximum(steps, 1) - 1) // self.split + 1
        return np.where(steps == 0, 0, np.minimum(bars, self.columns[index].bars))

    def packed(self) -> str:
        """For the page's script: base64 of deflated columns, one byte a cell each, and then the
        counts as little-endian uint32. Rows are sorted, which halves the size.
        """
        order = np.lexsort(self.steps.T[::-1])
        steps = self.steps[order].astype(np.uint8)
        counts = (self.kept + self.dropped)[order].astype("<u4")
        content = zlib.compress(steps.T.tobytes() + counts.tobytes(), 9)
        return base64.b64encode(content).decode()


def count_rows(rows: ScoredRows) -> Tally:
    """Kept, dropped and failed rows."""
    total, ok, kept = rows.fetch(
        "SELECT count(*), count(*) FILTER (status = 'ok'), count(*) FILTER (kept) FROM rows"
    )[0]
    return Tally(rows=total, kept=kept, dropped=ok - kept, failed=total - ok)


def count_failures(rows: ScoredRows) -> list[Failure]:
    """Reasons for failed rows, the most frequent first."""
    found = rows.fetch(
        "SELECT status::VARCHAR, count(*) AS n, arg_min({'pos': pos, 'key': key, "
        f"'error': coalesce(error, '')}}, tie, {FAILURE_EXAMPLES}) "
        "FROM rows WHERE status <> 'ok' GROUP BY status ORDER BY n DESC, status::VARCHAR"
    )
    failures = []
    for status, count, examples in found:
        named = tuple(
            (rows.tables.tables[split_position(e["pos"])[0]].shard, e["key"], e["error"])
            for e in examples
        )
        failures.append(Failure(Status(status), count, named))
    return failures


def build_cube(rows: ScoredRows) -> Cube:
    """Joint counts over the leading columns, in the finest steps that stay small enough.

    Columns are left out from the end where even the coarsest steps give too many cells.
    """
    columns = tuple(rows.columns[:CUBE_COLUMNS])
    while True:
        estimates = _estimate_cells(rows, columns)
        for split, cells in zip(SPLITS, estimates, strict=True):
            if cells <= CUBE_CELLS:
                return _query_cube(rows, columns, split)
        columns = columns[:-1]


def count_bars(rows: ScoredRows, column: ScoreColumn) -> Histogram:
    """Histogram of a column that is not in the cube."""
    return _query_cube(rows, (column,), 1).histogram(0)


def _estimate_cells(rows: ScoredRows, columns: tuple[ScoreColumn, ...]) -> tuple[int, ...]:
    distinct = ", ".join(
        f"approx_count_distinct(({', '.join(c.step_sql(split) for c in columns)}))"
        for split in SPLITS
    )
    return tuple(rows.fetch(f"SELECT {distinct} FROM rows WHERE status = 'ok'")[0])


def _query_cube(rows: ScoredRows, columns: tuple[ScoreColumn, ...], split: int) -> Cube:
    steps = ", ".join(f"{c.step_sql(split)} AS step{i}" for i, c in enumerate(columns))
    found = rows.connection.execute(
        f"SELECT {steps}{',' if steps else ''} count(*) FILTER (kept) AS kept, "
        "count(*) FILTER (NOT kept) AS dropped FROM rows WHERE status = 'ok' "
        + (f"GROUP BY {', '.join(f'step{i}' for i in range(len(columns)))}" if columns else "")
    ).fetchnumpy()
    cells = [np.asarray(found[f"step{i}"], dtype=np.int32) for i in range(len(columns))]
    kept = np.asarray(found["kept"], dtype=np.int64)
    stacked = np.stack(cells, axis=1) if cells else np.zeros((len(kept), 0), dtype=np.int32)
    return Cube(columns, split, stacked, kept, np.asarray(found["dropped"], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class SliceValue:
    """Rows of one value of a slice column: ok rows, kept rows, mean score per column."""

    value: str | None
    rows: int
    kept: int
    means: tuple[float | None, ...]


def count_slices(rows: ScoredRows, name: str) -> list[SliceValue]:
    """The most frequent values of a slice column."""
    means = "".join(f", avg({quoted(c.name)})" for c in rows.columns)
    found = rows.fetch(
        f"SELECT {quoted(name)}::VARCHAR AS value, count(*) AS n, count(*) FILTER (kept){means} "
        f"FROM rows WHERE status = 'ok' GROUP BY value ORDER BY n DESC, value LIMIT {SLICE_VALUES}"
    )
    return [SliceValue(value, count, kept, tuple(m)) for value, count, kept, *m in found]
