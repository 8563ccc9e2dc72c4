"""Count rows by bins. Memory depends on the number of bins, not of rows."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairsift.expressions.terms import quoted
from pairsift.pair import Status
from pairsift.report.columns import FINE, FINEST, SPLITS, ScoreColumn
from pairsift.report.table import Details, ScoredRows

CUBE_COLUMNS = 5
CUBE_CELLS = 500_000
FAILURE_EXAMPLES = 5
SLICE_VALUES = 15

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of kept, dropped and failed rows."""

    rows: int
    kept: int
    dropped: int
    failed: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason for rows without scores, with examples."""

    status: Status
    count: int
    examples: tuple[Details, ...]


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
        kept, dropped: (cells,), numbers of rows. Cells are sorted by the first column, then the
            second, ...
    """

    columns: tuple[ScoreColumn, ...]
    split: int
    steps: npt.NDArray[np.int32]
    kept: Counts
    dropped: Counts

    def histogram(self, index: int) -> Histogram:
        """Return the histogram of one column."""
        column = self.columns[index]
        bar = self._bars(index)
        kept = np.bincount(bar, self.kept, column.bars + 1).astype(np.int64)
        dropped = np.bincount(bar, self.dropped, column.bars + 1).astype(np.int64)
        return Histogram(column, kept[1:], dropped[1:], int(kept[0] + dropped[0]))

    def joint(self, across: int, up: int) -> tuple[Counts, Counts]:
        """Return kept and dropped rows, each (bars of `across`, bars of `up`), without nulls."""
        shape = (self.columns[across].bars + 1, self.columns[up].bars + 1)
        flat = np.ravel_multi_index((self._bars(across), self._bars(up)), shape)
        both = [
            np.bincount(flat, counts, shape[0] * shape[1]).astype(np.int64).reshape(shape)[1:, 1:]
            for counts in (self.kept, self.dropped)
        ]
        return both[0], both[1]

    def count(self, thresholds: dict[str, int]) -> int:
        """Count rows that reach every given threshold (column name to step)."""
        passes = np.ones(len(self.kept), dtype=bool)
        for index, column in enumerate(self.columns):
            if column.name in thresholds:
                # Step 0 of an edge is `low`; a value at or above edge k has reached step k + 1.
                passes &= self.steps[:, index] > thresholds[column.name]
        return int((self.kept + self.dropped)[passes].sum())

    def _bars(self, index: int) -> npt.NDArray[np.int32]:
        """Return bar numbers from 1 on; 0 is null. The step ``high`` is in the last bar."""
        steps = self.steps[:, index]
        bars = (np.maximum(steps, 1) - 1) // self.split + 1
        return np.where(steps == 0, 0, np.minimum(bars, self.columns[index].bars))

    def packed(self) -> str:
        """Encode for the page's script.

        The result is base64 of deflated bytes: first one byte per cell for each column, then the
            counts as
        little-endian uint32.
        """
        counts = (self.kept + self.dropped).astype("<u4")
        content = zlib.compress(self.steps.astype(np.uint8).T.tobytes() + counts.tobytes(), 6)
        return base64.b64encode(content).decode()


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Counts of the ok rows over every two columns of a cube, in the sliders' own steps.

    A cube of millions of rows has steps of a whole bar. These tables have single points, so counts
    are exact while at most two sliders are in use.

    Attributes:
        tables: by indices (i, j) with i < j: numbers of rows, shape (steps of i, steps of j). A row
            is counted at the highest threshold that it reaches, from 1 on; 0 is null.
    """

    columns: tuple[ScoreColumn, ...]
    tables: dict[tuple[int, int], Counts]

    def count(self, thresholds: dict[str, int]) -> int:
        """Count rows that reach the one or two given thresholds (column name to step)."""
        wanted = [thresholds.get(column.name, -1) for column in self.columns]
        used = [index for index, step in enumerate(wanted) if step >= 0]
        used += [index for index in range(len(wanted)) if index not in used]
        i, j = sorted(used[:2])
        # Step 0 of an edge is `low`; a value at or above edge k has reached step k + 1.
        return int(self.tables[i, j][wanted[i] + 1 :, wanted[j] + 1 :].sum())

    def packed(self) -> str:
        """Encode for the page's script: base64 of deflated little-endian uint32."""
        content = b"".join(self.tables[key].astype("<u4").tobytes() for key in sorted(self.tables))
        return base64.b64encode(zlib.compress(content, 9)).decode()


def count_rows(rows: ScoredRows) -> Tally:
    """Count kept, dropped and failed rows."""
    total, ok, kept = rows.fetch(
        "SELECT count(*), count(*) FILTER (status = 'ok'), count(*) FILTER (kept) FROM rows"
    )[0]
    return Tally(rows=total, kept=kept, dropped=ok - kept, failed=total - ok)


def count_failures(rows: ScoredRows) -> list[Failure]:
    """Return the reasons of failed rows, the most frequent first."""
    found = rows.fetch(
        f"SELECT status::VARCHAR, count(*), arg_min(pos, {rows.tie}, {FAILURE_EXAMPLES}) "
        "FROM rows WHERE status <> 'ok' GROUP BY status ORDER BY 2 DESC, 1"
    )
    details = rows.details(pos for _, _, positions in found for pos in positions)
    failures = []
    for status, count, positions in found:
        failures.append(Failure(Status(status), count, tuple(details[pos] for pos in positions)))
    return failures


def build_cube(rows: ScoredRows) -> Cube:
    """Count rows jointly over the first columns, in the finest steps that stay small enough.

    If even the coarsest steps give too many cells, the last columns are left out.
    """
    count = min(len(rows.columns), CUBE_COLUMNS)
    while True:
        columns = range(count)
        distinct = ", ".join(
            f"approx_count_distinct({_packed_sql(rows, columns, split)})" for split in SPLITS
        )
        estimates = rows.fetch(f"SELECT {distinct} FROM rows WHERE status = 'ok'")[0]
        for split, cells in zip(SPLITS, estimates, strict=True):
            if cells <= CUBE_CELLS:
                return _query_cube(rows, columns, split)
        count -= 1


def count_pairs(rows: ScoredRows, cube: Cube) -> PairCounts | None:
    """Count exactly for two sliders at a time; None if the cube itself is as fine."""
    if cube.split == FINE:
        return None
    merged = FINEST // FINE
    sizes = [column.bars * FINE + 2 for column in cube.columns]
    tables = {}
    for i in range(len(sizes)):
        for j in range(i + 1, len(sizes)):
            fine = [f"((step{n}::INT + {merged - 1}) // {merged})" for n in (i, j)]
            found = rows.connection.execute(
                f"SELECT {fine[0]} * {sizes[j]} + {fine[1]} AS place, count(*) AS n "
                "FROM rows WHERE status = 'ok' GROUP BY 1"
            ).fetchnumpy()
            flat = np.zeros(sizes[i] * sizes[j], dtype=np.int64)
            flat[np.asarray(found["place"], dtype=np.int64)] = np.asarray(found["n"])
            tables[i, j] = flat.reshape(sizes[i], sizes[j])
    return PairCounts(cube.columns, tables)


def count_bars(rows: ScoredRows, index: int) -> Histogram:
    """Return the histogram of a column that is not in the cube."""
    return _query_cube(rows, range(index, index + 1), 1).histogram(0)


def _packed_sql(rows: ScoredRows, indices: Sequence[int], split: int) -> str:
    """Return SQL of a row's cell as one number: one byte per column, the first column highest."""
    merged = FINEST // split
    last = len(indices) - 1
    parts = [
        f"(((step{index}::BIGINT + {merged - 1}) // {merged}) << {8 * (last - place)})"
        for place, index in enumerate(indices)
    ]
    return " + ".join(parts) or "0"


def _query_cube(rows: ScoredRows, indices: Sequence[int], split: int) -> Cube:
    found = rows.connection.execute(
        f"SELECT {_packed_sql(rows, indices, split)} AS cell, count(*) FILTER (kept) AS kept, "
        "count(*) FILTER (NOT kept) AS dropped FROM rows WHERE status = 'ok' "
        "GROUP BY 1 ORDER BY 1"
    ).fetchnumpy()
    cells = np.asarray(found["cell"], dtype=np.int64)
    shifts = range(8 * (len(indices) - 1), -1, -8)
    steps = [((cells >> shift) & 255).astype(np.int32) for shift in shifts]
    return Cube(
        tuple(rows.columns[index] for index in indices),
        split,
        np.stack(steps, axis=1) if steps else np.zeros((len(cells), 0), dtype=np.int32),
        np.asarray(found["kept"], dtype=np.int64),
        np.asarray(found["dropped"], dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class SliceValue:
    """The rows with one value of a slice column: ok rows, kept rows, mean score per column."""

    value: str | None
    rows: int
    kept: int
    means: tuple[float | None, ...]


def count_slices(rows: ScoredRows, name: str) -> list[SliceValue]:
    """Return the most frequent values of a slice column."""
    means = "".join(f", avg({quoted(c.name)})" for c in rows.columns)
    found = rows.fetch(
        f"SELECT {quoted(name)}::VARCHAR, count(*), count(*) FILTER (kept){means} "
        f"FROM rows WHERE status = 'ok' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {SLICE_VALUES}"
    )
    return [SliceValue(value, count, kept, tuple(m)) for value, count, kept, *m in found]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two selections from the same rows.

    Attributes:
        first, second: the options of the two selections.
        both, only_first, only_second: numbers of kept rows.
        histograms: per column, rows per bar that the first and the second keep.
        means: per column, mean score of the kept rows of each.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    histograms: tuple[tuple[ScoreColumn, Counts, Counts], ...]
    means: tuple[tuple[float | None, float | None], ...]

    @property
    def jaccard(self) -> float:
        """Rows that both keep, as a fraction of the rows that at least one keeps."""
        either = self.both + self.only_first + self.only_second
        return self.both / either if either else 1.0


def compare_selections(rows: ScoredRows, first: str, second: str) -> Comparison:
    """Count how the two selections overlap and differ."""
    means = "".join(
        f", avg({quoted(c.name)}) FILTER (kept), avg({quoted(c.name)}) FILTER (compared)"
        for c in rows.columns
    )
    both, only_first, only_second, *found = rows.fetch(
        "SELECT count(*) FILTER (kept AND compared), count(*) FILTER (kept AND NOT compared), "
        f"count(*) FILTER (compared AND NOT kept){means} FROM rows"
    )[0]
    histograms = []
    for index, column in enumerate(rows.columns):
        sides = np.zeros((2, column.bars), dtype=np.int64)
        for step, *counts in rows.fetch(
            f"SELECT step{index}, count(*) FILTER (kept), count(*) FILTER (compared) FROM rows "
            f"WHERE step{index} > 0 AND (kept OR compared) GROUP BY ALL"
        ):
            sides[:, min((step - 1) // FINEST, column.bars - 1)] += counts
        histograms.append((column, sides[0], sides[1]))
    return Comparison(
        first,
        second,
        both,
        only_first,
        only_second,
        tuple(histograms),
        tuple(zip(found[::2], found[1::2], strict=True)),
    )
