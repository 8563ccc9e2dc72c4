"""The score tables behind a report, as one DuckDB table of all rows with what became of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.report.columns import (
    ScoreColumn,
    metric_column,
    other_column,
    quoted,
    score_names,
    slice_names,
)
from pairsift.scores import FACTS_KEY
from pairsift.select import Selection
from pairsift.select.tables import (
    ROW_BITS,
    ScoreTables,
    find_score_tables,
    open_database,
    register_filesystem,
    run_sql,
)
from pairsift.storage import Folder


class ScoredRows:
    """All rows of one or more score folders, in a DuckDB table ``rows`` that spills to disk.

    Columns: ``pos`` (the row's place: table in the high bits, row in the low), ``key, status,
    error, width, height, kept`` (false where not ok), ``tie`` (a seeded hash of shard and key: an
    order that depends on neither file order nor threads), the score and the slice columns.

    Attributes:
        tables: the score files.
        facts: what each file says of its source shard (source, source_kind, rows, ...).
        columns: the score columns that hold any value.
        slices: names of the slice columns.
        selected: whether a selection decides what is kept; otherwise every ok row is.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: ScoreTables,
        selection: Selection | None,
        seed: int,
    ) -> None:
        self.connection = connection
        self.tables = tables
        self.selected = selection is not None
        schema, self.facts = _read_footers(tables)
        names = score_names(schema)
        self.slices = slice_names(schema)
        kept = "true"
        if selection is not None:
            self._load_kept(selection)
            kept = "pos IN (SELECT pos FROM kept)"
        chosen = ["pos", "key", "status", "error", "width", "height", *names, *self.slices]
        run_sql(
            connection,
            f"CREATE TABLE rows AS SELECT {', '.join(map(quoted, chosen))}, "
            f"status = 'ok' AND {kept} AS kept, hash(shard, key, {int(seed)}) AS tie "
            f"FROM ({tables.scan_sql()})",
        )
        self.columns = list(self._columns([schema.field(name) for name in names]))

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        found: list[tuple[Any, ...]] = run_sql(self.connection, sql).fetchall()
        return found

    def _load_kept(self, selection: Selection) -> None:
        """Places of the kept rows as this scan counts them."""
        if selection.record.fingerprint != self.tables.fingerprint:
            raise PairsiftError(
                f"the selection {selection.path} was made from other scores than "
                f"{', '.join(self.tables.folders)} (their fingerprints differ); select again"
            )
        folders = _match_folders(selection, self.tables)
        files = pa.table(
            {
                "folder": pa.array([t.folder for t in self.tables.tables], pa.int16()),
                "shard": pa.array([t.shard for t in self.tables.tables], pa.string()),
                "file": pa.array(range(len(self.tables.tables)), pa.int64()),
            }
        )
        folder = Folder(selection.path or "")
        path = selection.rows_path()
        if not folder.is_local:
            register_filesystem(self.connection, folder.fs)
            path = folder.fs.unstrip_protocol(path)
        matches = ", ".join(f"({theirs}, {ours})" for theirs, ours in enumerate(folders))
        self.connection.register("files", files)
        run_sql(
            self.connection,
            f"CREATE TABLE kept AS SELECT (file << {ROW_BITS}) | row::BIGINT AS pos "
            "FROM read_parquet($path) AS k "
            f"JOIN (VALUES {matches}) AS m(theirs, ours) ON k.folder = m.theirs "
            "JOIN files AS f ON f.folder = m.ours AND f.shard = k.shard::VARCHAR",
            {"path": path},
        )
        self.connection.unregister("files")
        found = self.fetch("SELECT count(*) FROM kept")[0][0]
        if found != selection.kept:
            raise PairsiftError(
                f"the selection {selection.path} keeps {selection.kept} rows, of which only "
                f"{found} lie in {', '.join(self.tables.folders)}; give the folders it was made "
                f"from: {', '.join(selection.scores)}"
            )

    def _columns(self, fields: Sequence[pa.Field]) -> Iterator[ScoreColumn]:
        """Columns with any number; the range of others than the four is taken from the data."""
        for column in fields:
            value = f"{quoted(column.name)}::DOUBLE"
            low, high = self.fetch(
                f"SELECT q[1], q[2] FROM (SELECT approx_quantile({value}, [0.002, 0.998]) AS q "
                f"FROM rows WHERE status = 'ok' AND isfinite({value}))"
            )[0]
            if low is None:
                continue
            if column.name in METRICS:
                yield metric_column(column.name)
            else:
                yield other_column(column, low, high)


def split_position(pos: int) -> tuple[int, int]:
    """Index of a row's score file, and its number in that file."""
    return pos >> ROW_BITS, pos & ((1 << ROW_BITS) - 1)


@contextlib.contextmanager
def open_rows(
    scores: str | Sequence[str], selection: Selection | None, seed: int
) -> Iterator[ScoredRows]:
    """Load score folders for aggregation.

    Args:
        scores: one score folder or several, as paths or fsspec URLs.
        selection: what is kept; None for every ok row.
        seed: of the order in which ties and samples are drawn.

    Raises:
        PairsiftError: a folder holds no scores, or the selection is of other ones.
    """
    with open_database() as connection:
        run_sql(connection, "SET preserve_insertion_order = false")
        yield ScoredRows(connection, find_score_tables(connection, scores), selection, seed)


def _read_footers(tables: ScoreTables) -> tuple[pa.Schema, list[dict[str, Any]]]:
    """The schema, the same in all files of one fingerprint, and each file's facts."""
    schema: pa.Schema | None = None
    facts = []
    folders = [Folder(url) for url in tables.folders]
    for table in tables.tables:
        folder = folders[table.folder]
        with folder.fs.open(folder.file(f"{table.shard}.parquet"), "rb") as file:
            found = pq.read_schema(file)
        schema = schema or found
        facts.append(json.loads((found.metadata or {}).get(FACTS_KEY, b"{}")))
    assert schema is not None
    return schema, facts


def _match_folders(selection: Selection, tables: ScoreTables) -> list[int]:
    """For each score folder of the selection, its index here: by path, or by place if moved."""
    ours = [Folder(url).path for url in tables.folders]
    theirs = [Folder(url).path for url in selection.scores]
    if set(theirs) <= set(ours):
        return [ours.index(path) for path in theirs]
    if len(theirs) == len(ours):
        return list(range(len(ours)))
    raise PairsiftError(
        f"the selection {selection.path} was made from {', '.join(selection.scores)}, the report "
        f"is asked for {', '.join(tables.folders)}; give the same folders"
    )
