"""Load the score tables of a report into one DuckDB table, together with what was kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.expressions.database import file_sql, open_database, register_filesystem, run_sql
from pairsift.expressions.terms import quoted
from pairsift.metrics import Metric
from pairsift.report.columns import (
    ScoreColumn,
    flag_names,
    is_score_name,
    metric_column,
    other_column,
    score_names,
    slice_names,
)
from pairsift.report.sources import SourceShards
from pairsift.scores import FACTS_KEY, schema_metrics, telling_damage
from pairsift.select import Join, Selection
from pairsift.select.groups import COPY_GROUP, load_groups
from pairsift.select.groups import TABLE as GROUP_TABLE
from pairsift.select.join import joined_sql, open_join
from pairsift.select.record import refuse_changed
from pairsift.select.tables import ROW_BITS, ScoreTables, find_score_tables
from pairsift.storage import Folder

RANGE_ROWS = 1_000_000
# Of fewer rows every text column is shown.
_FEW = 20
COPIES = "copies"
"""columns: the name of a row's group of copies, and how many rows that has; null outside groups"""


class Details(NamedTuple):
    """Values that are read only for rows that are shown."""

    shard: str
    key: str
    error: str | None
    width: int | None
    height: int | None


class ScoredRows:
    """All rows of one or more score folders, in a DuckDB table ``rows`` that spills to disk.

    Columns: ``pos`` (the row's position: table in the high bits, row in the low bits), ``status``,
    ``kept`` and ``compared`` (by the first and the second selection; false if not ok), the score
    columns, ``step0``, ``step1``, ... (of the score columns in order, see
    :meth:`ScoreColumn.step_sql`), the slice columns and those of true and false. Texts
    that are needed only for a few rows stay in the files; :meth:`details` reads them.

    Attributes:
        tables: the score files.
        facts: what each file says of its source shard (source, source_kind, rows, ...).
        shards: the source shards.
        tie: SQL of a seeded order of rows, for samples and to break ties.
        columns: the score columns that hold any value.
        slices: names of the slice columns.
        kinds: those whose values repeat, so that they divide the rows; addresses do not.
        selected: whether a selection decides what is kept; otherwise every ok row is kept.
        grouped: whether the rows have the columns `COPY_GROUP` and `COPIES`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: ScoreTables,
        selection: Selection | None,
        compared: Selection | None,
        joins: Sequence[Join],
        seed: int,
        more: Sequence[str] = (),
        roots: Sequence[str] = (),
        groups: str | None = None,
    ) -> None:
        self.connection = connection
        self.tables = tables
        self.selected = selection is not None
        self.tie = f"hash(pos, {int(seed)})"
        schema, self.facts = _read_footers(tables)
        self.shards = SourceShards(tables, self.facts, roots)
        self.slices = slice_names(schema)
        relation = tables.scan_sql()
        joined: list[pa.Field] = []
        for join in joins:
            relation, fields = self._join(relation, join)
            joined += fields
        if groups is not None:
            run_sql(connection, f"CREATE VIEW scored AS {tables.scan_sql()}")
            load_groups(connection, groups)
            relation = (
                f"SELECT * FROM ({relation}) LEFT JOIN (SELECT pos, {COPY_GROUP}, "
                f"count(*) OVER (PARTITION BY {COPY_GROUP}) AS {COPIES} "
                f"FROM {GROUP_TABLE}) USING (pos)"
            )
            more = (*more, COPY_GROUP, COPIES)
        self.grouped = groups is not None
        run_sql(connection, f"CREATE VIEW pool AS {relation}")
        own = [schema.field(name) for name in score_names(schema)]
        self.columns = list(self._columns([*own, *joined], schema_metrics(schema)))
        used = {column.name for column in self.columns}
        steps = [f"({c.step_sql()})::UTINYINT AS step{i}" for i, c in enumerate(self.columns)]
        chosen = [
            "pos",
            "status",
            *(quoted(column.name) for column in self.columns),
            *steps,
            *(quoted(field.name) for field in own if field.name not in used),
            *map(quoted, self.slices),
            *(quoted(name) for name in flag_names(schema) if name not in more),
            *map(quoted, more),
            self._kept_sql(selection, "kept"),
            self._kept_sql(compared, "compared") if compared else "false AS compared",
        ]
        run_sql(connection, f"CREATE TABLE rows AS SELECT {', '.join(chosen)} FROM pool")
        self.kinds = [name for name in self.slices if self._repeats(name)]

    def _repeats(self, name: str) -> bool:
        """Whether a column's values mostly occur more than once."""
        ((different, count),) = self.fetch(
            f"SELECT approx_count_distinct({quoted(name)}), count({quoted(name)}) FROM rows "
            "WHERE status = 'ok'"
        )
        return bool(count < _FEW or different <= count / 2)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        found: list[tuple[Any, ...]] = run_sql(self.connection, sql).fetchall()
        return found

    def details(self, positions: Iterable[int]) -> dict[int, Details]:
        """Return key, error and image size of a few rows, by their position."""
        wanted = sorted(set(positions))
        if not wanted:
            return {}
        # Only the files with these rows are read; `nth` is a file's number among them.
        tables = sorted({pos >> ROW_BITS for pos in wanted})
        nth = {table: number for number, table in enumerate(tables)}
        files = ", ".join(file_sql(self.tables.tables[table].path) for table in tables)
        low_bits = (1 << ROW_BITS) - 1
        places = ", ".join(f"({nth[p >> ROW_BITS]}, {p & low_bits}, {p})" for p in wanted)
        found = self.fetch(
            "SELECT wanted.pos, key, error, width, height "
            f"FROM read_parquet([{files}], file_row_number = true) "
            f"JOIN (VALUES {places}) AS wanted(nth, number, pos) "
            "ON file_index = wanted.nth AND file_row_number = wanted.number"
        )
        shards = [table.shard for table in self.tables.tables]
        return {pos: Details(shards[pos >> ROW_BITS], *values) for pos, *values in found}

    def _kept_sql(self, selection: Selection | None, name: str) -> str:
        """Return SQL of a column that says whether a row is kept; loads the kept positions for it.

        Raises:
            PairsiftError: the selection was made from other scores.
        """
        if selection is None:
            return f"status = 'ok' AS {name}"
        if selection.record.fingerprint != self.tables.fingerprint:
            raise PairsiftError(
                f"the selection {selection.path} was made from other scores than "
                f"{', '.join(self.tables.folders)} (their fingerprints differ); select again"
            )
        folders = _match_folders(selection, self.tables)
        _refuse_changed(selection, self.tables, folders)
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
            f"CREATE TABLE places_{name} AS SELECT (file << {ROW_BITS}) | row::BIGINT AS pos "
            f"FROM read_parquet({file_sql(path)}) AS k "
            f"JOIN (VALUES {matches}) AS m(theirs, ours) ON k.folder = m.theirs "
            "JOIN files AS f ON f.folder = m.ours AND f.shard = k.shard::VARCHAR",
        )
        self.connection.unregister("files")
        found = self.fetch(f"SELECT count(*) FROM places_{name}")[0][0]
        if found != selection.kept:
            raise PairsiftError(
                f"the selection {selection.path} keeps {selection.kept} rows, of which only "
                f"{found} lie in {', '.join(self.tables.folders)}; give the folders it was made "
                f"from: {', '.join(selection.scores)}"
            )
        return f"status = 'ok' AND pos IN (SELECT pos FROM places_{name}) AS {name}"

    def _join(self, relation: str, join: Join) -> tuple[str, list[pa.Field]]:
        """Add another table's columns of fractional numbers, named ``join.column``.

        Tables of sizes, addresses and the like have none and are left out, because a selection may
        also be made with such a table.
        """
        table = open_join(self.connection, join, has_uid=join.on == "uid")
        fields = [
            pa.field(name, pa.float32() if single else pa.float64())
            for name, single in table.fractional.items()
            if is_score_name(name.removeprefix(f"{join.name}."))
        ]
        if not fields:
            return relation, []
        names = frozenset(field.name for field in fields)
        return joined_sql(self.connection, table, relation, names), fields

    def _columns(
        self, fields: Sequence[pa.Field], metrics: Mapping[str, Metric]
    ) -> Iterator[ScoreColumn]:
        """Columns with any number; the range of others than the four is taken from the data."""
        for column in fields:
            value = f"{quoted(column.name)}::DOUBLE"
            if column.name in metrics:
                if self.fetch(f"SELECT 1 FROM pool WHERE {value} IS NOT NULL LIMIT 1"):
                    yield metric_column(metrics[column.name], pa.types.is_float32(column.type))
                continue
            own = not column.name.count(".")
            sample = f"({self.tables.sample_sql(RANGE_ROWS)})" if own else "pool"
            low, high = self.fetch(
                f"SELECT q[1], q[2] FROM (SELECT approx_quantile({value}, [0.002, 0.998]) AS q "
                f"FROM {sample} WHERE status = 'ok' AND isfinite({value}))"
            )[0]
            if low is not None:
                yield other_column(column, low, high)


def split_position(pos: int) -> tuple[int, int]:
    """Return the index of a row's score file, and its row number there."""
    return pos >> ROW_BITS, pos & ((1 << ROW_BITS) - 1)


@contextlib.contextmanager
def open_rows(
    scores: str | Sequence[str],
    selection: Selection | None = None,
    compared: Selection | None = None,
    joins: Sequence[Join] = (),
    seed: int = 0,
    more: Sequence[str] = (),
    roots: Sequence[str] = (),
    groups: str | None = None,
) -> Iterator[ScoredRows]:
    """Load score folders for aggregation.

    Args:
        scores: one score folder or several, as paths or fsspec URLs.
        selection: what is kept; None for every ok row.
        compared: another selection from the same scores.
        joins: other scorers' tables, whose fractional columns also count as scores.
        seed: of the order in which ties and samples are drawn.
        more: further columns of the score tables to load, such as ``width``.
        roots: where the source shards are now, see :class:`SourceShards`.
        groups: folder that `pairsift dedup` wrote; None for the one that the selection used.

    Raises:
        PairsiftError: a folder holds no scores, or the selection is from other scores.
    """
    with open_database() as connection:
        run_sql(connection, "SET preserve_insertion_order = false")
        tables = find_score_tables(connection, scores)
        if groups is None and selection is not None:
            groups = selection.record.query.get("groups")
        yield ScoredRows(connection, tables, selection, compared, joins, seed, more, roots, groups)


def _read_footers(tables: ScoreTables) -> tuple[pa.Schema, list[dict[str, Any]]]:
    """Return the schema, the same in all files of one fingerprint, and each file's facts."""
    schema: pa.Schema | None = None
    facts = []
    folders = [Folder(url) for url in tables.folders]
    for table in tables.tables:
        folder = folders[table.folder]
        path = folder.file(f"{table.shard}.parquet")
        with folder.fs.open(path, "rb") as file, telling_damage(path):
            found = pq.read_schema(file)
            facts.append(json.loads((found.metadata or {}).get(FACTS_KEY, b"{}")))
        schema = schema or found
    assert schema is not None
    return schema, facts


def _match_folders(selection: Selection, tables: ScoreTables) -> list[int]:
    """Return the index here of each score folder of the selection, by path or position."""
    ours = [Folder(url).path for url in tables.folders]
    theirs = [Folder(url).path for url in selection.scores]
    if set(theirs) <= set(ours):
        return [ours.index(path) for path in theirs]
    if len(theirs) == len(ours):
        return list(range(len(ours)))
    raise PairsiftError(
        f"the selection {selection.path} was made from {', '.join(selection.scores)}, but the "
        f"report is for {', '.join(tables.folders)}; give the same folders"
    )


def _refuse_changed(selection: Selection, tables: ScoreTables, folders: Sequence[int]) -> None:
    """Check that no table has changed since the selection.

    Args:
        folders: see :func:`_match_folders`.

    Raises:
        PairsiftError: a table is not the one that the selection was made from.
    """
    ours = {(table.folder, table.shard): table for table in tables.tables}
    for scores, folder in zip(selection.scores, folders, strict=True):
        for shard, identity in selection.tables.get(scores, {}).items():
            if table := ours.get((folder, shard)):
                refuse_changed(table.path, identity, table.identity)
