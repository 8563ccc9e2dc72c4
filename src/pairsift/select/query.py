"""Choosing rows: conditions, an exact cut, and a record of both."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import IO, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pairsift
from pairsift.errors import PairsiftError
from pairsift.select.cut import (
    BUCKETS,
    GROUP_BUCKETS,
    Buckets,
    Cut,
    find_edges,
    literal,
    tied_positions,
)
from pairsift.select.expression import (
    Columns,
    Kind,
    Term,
    compile_expression,
    number_sql,
    ranking,
    split_conditions,
)
from pairsift.select.record import (
    KEPT_SCHEMA,
    RECORD,
    RECORD_KEY,
    ROWS,
    Drop,
    Record,
    Selection,
)
from pairsift.select.tables import (
    ROW_BITS,
    ScoreTables,
    find_score_tables,
    open_database,
    run_sql,
    score_columns,
)
from pairsift.storage import Folder

_OK = "status = 'ok'"
_NO_RANK = "no value to rank by"
_BELOW_CUT = "below the cut"
# Positions that one step of the final scan holds.
_STEP = 1 << 20


def select(
    scores: str | Sequence[str],
    *,
    where: str | None = None,
    top: float | None = None,
    count: int | None = None,
    by: str | None = None,
    per: str | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
) -> Selection:
    """Choose rows of score tables.

    A row is scorable if its status is ok, it passes `where`, and `by`, if given, has a value. Of
    the n scorable rows `top` keeps exactly floor(top * n), those with the highest `by`; rows that
    tie at the cut are chosen by a hash of `seed` and their uid (shard/key without one), so that
    the result depends neither on the order of files nor on the number of threads.

    Args:
        scores: one score folder or several, as paths or fsspec URLs.
        where: condition over the score columns, e.g. ``itm >= 66 and odf >= 20``. Null never
            passes.
        top: fraction kept, from 0 to 1; needs `by`.
        count: number kept, in place of `top`.
        by: number to rank by, higher is better, e.g. ``0.5*itm + 0.5*odf``.
        per: a column or expression; `top` or `count` holds for each of its values on its own.
        seed: decides between ties.
        out: folder to write the selection to; None to count only.
        memory_limit: DuckDB's; what needs more goes to a temporary folder on disk.
        threads: None for one per core.

    Raises:
        PairsiftError: a folder holds no scores, or scores of different fingerprints; an
            expression names what is not there; options do not go together.
    """
    _check_options(top, count, by, per)
    with open_database(memory_limit, threads) as connection:
        tables = find_score_tables(connection, scores)
        run_sql(connection, f"CREATE VIEW pool AS {tables.scan_sql()}")
        query = _Query(connection, score_columns(connection, "pool"), tables, seed)
        query.compile(where, by, per)
        query.count_rows(top, count)
        query.asked = {
            "where": where, "top": top, "count": count, "by": by, "per": per, "seed": seed,
        }  # fmt: skip
        if out is None:
            return Selection(query.record())
        return query.write(Folder(out))


def _check_options(top: float | None, count: int | None, by: str | None, per: str | None) -> None:
    if top is not None and count is not None:
        raise PairsiftError("--top and --count exclude each other; give one")
    if top is not None and not 0 <= top <= 1:
        raise PairsiftError(f"--top {top} is not a fraction from 0 to 1; 0.3 keeps 30 %")
    if count is not None and count < 0:
        raise PairsiftError(f"--count {count} is negative")
    if (top is None and count is None) != (by is None):
        raise PairsiftError(
            "--top (or --count) and --by go together: how many to keep, and what to rank by, "
            "e.g. --top 0.3 --by itm"
        )
    if per is not None and by is None:
        raise PairsiftError("--per makes groups for a cut; give --top and --by too")


class _Query:
    """One selection on its way: compiled, counted, written."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: Columns,
        tables: ScoreTables,
        seed: int,
    ) -> None:
        self.connection = connection
        self.columns = columns
        self.tables = tables
        self.seed = seed
        self.asked: dict[str, Any] = {}
        self.percentiles: dict[str, float] = {}
        self.conditions: list[tuple[str, Term]] = []
        self.by: Term | None = None
        self.per: Term | None = None
        self.rows = 0
        self.failed: dict[str, int] = {}
        self.dropped: list[Drop] = []
        self.cuts: list[Cut] = []
        self.kept = 0
        self.digest = ""

    def compile(self, where: str | None, by: str | None, per: str | None) -> None:
        """Turn the expressions into SQL."""
        if where is not None:
            self._compile(where, "--where", Kind.BOOLEAN)
            self.conditions = [
                (text, self._compile(text, "--where", Kind.BOOLEAN))
                for text in split_conditions(where)
            ]
        if by is not None:
            self.by = self._compile(by, "--by", Kind.NUMBER)
        if per is not None:
            self.per = self._compile(per, "--per", None)

    def _compile(self, text: str, option: str, kind: Kind | None) -> Term:
        term = compile_expression(text, self.columns, option, self._percentile)
        if kind is not None and term.kind is not kind:
            raise PairsiftError(
                f'{option} "{text}" is {term.kind.value}; {kind.value} is needed, for example '
                + ('"itm >= 66"' if kind is Kind.BOOLEAN else '"itm"')
            )
        return term

    def _percentile(self, term: Term, percent: Fraction) -> float:
        raise PairsiftError("percentiles are not available yet")

    @property
    def passing(self) -> str:
        """SQL condition of the scorable rows."""
        parts = [_OK, *(term.sql for _, term in self.conditions)]
        if self.by is not None:
            parts.append(f"{ranking(self.by)} IS NOT NULL")
        return " AND ".join(parts)

    @property
    def value(self) -> str:
        """SQL of the ranking value, a double."""
        assert self.by is not None
        return f"CAST({self.by.sql} AS DOUBLE)"

    @property
    def group(self) -> str:
        """SQL of the group a row competes in."""
        return "NULL" if self.per is None else self.per.sql

    def ranked(self, *columns: str) -> str:
        """SQL of the scorable rows as grp, val and the asked columns."""
        wanted = ", ".join([f"{self.group} AS grp", f"{self.value} AS val", *columns])
        return f"SELECT {wanted} FROM pool WHERE {self.passing}"

    def count_rows(self, top: float | None, count: int | None) -> None:
        """One scan that counts every reason to drop a row, and the buckets of the cut."""
        buckets = self._buckets() if self.by is not None else None
        reasons = [f"NOT coalesce({term.sql}, FALSE)" for _, term in self.conditions]
        if self.by is not None:
            reasons.append(f"{ranking(self.by)} IS NULL")
        first = "".join(f" WHEN {sql} THEN {place}" for place, sql in enumerate(reasons, 1))
        reason = f"CASE WHEN NOT ({_OK}) THEN -1{first} ELSE 0 END"
        # How many each removes alone follows from the first column where there is but one.
        alone = "".join(
            f", count(*) FILTER ({_OK} AND {sql}) AS alone{place}"
            for place, sql in enumerate(reasons if len(reasons) > 1 else [], 1)
        )
        bucket = (
            "0"
            if buckets is None
            else f"CASE WHEN {self.passing} THEN {buckets.sql(self.value)} END"
        )
        group = "NULL" if self.per is None else f"CASE WHEN {self.passing} THEN {self.group} END"
        counted = run_sql(
            self.connection,
            f"SELECT {reason} AS reason, {group} AS grp, {bucket} AS bucket, count(*) AS size"
            f"{alone} FROM pool GROUP BY 1, 2, 3",
        ).fetchall()
        by_reason = [0] * (len(reasons) + 2)  # the last is -1: never scored
        by_itself = [0] * len(reasons)
        for place, _, _, size, *alones in counted:
            by_reason[place] += size
            for index, removed in enumerate(alones):
                by_itself[index] += removed
        if len(reasons) == 1:
            by_itself = [by_reason[1]]
        self.rows = sum(by_reason)
        names = [text for text, _ in self.conditions] + ([_NO_RANK] if self.by else [])
        self.dropped = [
            Drop(name, by_reason[place], by_itself[place - 1])
            for place, name in enumerate(names, 1)
        ]
        if by_reason[-1]:
            self.failed = self._count_failed()
        if self.by is None:
            self.kept = by_reason[0]
            return
        assert buckets is not None
        histogram = [
            (group, bucket, size) for place, group, bucket, size, *_ in counted if place == 0
        ]
        self.cuts = find_edges(self.connection, self.ranked(), buckets, histogram, top, count)
        self.kept = sum(cut.kept for cut in self.cuts)
        self.dropped.append(Drop(_BELOW_CUT, by_reason[0] - self.kept))

    def _buckets(self) -> Buckets:
        """Buckets over the values of a few tables; how well they fit decides only the speed."""
        assert self.by is not None
        last = len(self.tables.tables) - 1
        sample = ", ".join(str(place) for place in sorted({last * part // 4 for part in range(5)}))
        low, high = run_sql(
            self.connection,
            f"SELECT min(val), max(val) FROM (SELECT {self.value} AS val FROM pool "
            f"WHERE pos >> {ROW_BITS} IN ({sample}) AND {ranking(self.by)} IS NOT NULL) "
            "WHERE isfinite(val)",
        ).fetchall()[0]
        return Buckets.spanning(low, high, BUCKETS if self.per is None else GROUP_BUCKETS)

    def _count_failed(self) -> dict[str, int]:
        sql = f"SELECT status::VARCHAR, count(*) FROM pool WHERE NOT ({_OK}) GROUP BY 1 ORDER BY 1"
        return dict(run_sql(self.connection, sql).fetchall())

    def record(self) -> Record:
        """What is known so far."""
        inputs = self._inputs()
        return Record(
            query=self.asked,
            inputs=inputs,
            fingerprint=self.tables.fingerprint,
            rows=self.rows,
            failed=self.failed,
            dropped=self.dropped,
            cuts=self.cuts,
            kept=self.kept,
            percentiles=self.percentiles,
            digest=self.digest,
            pairsift_version=pairsift.__version__,
        )

    def _inputs(self) -> list[dict[str, Any]]:
        numbers = [0] * len(self.tables.folders)
        for table in self.tables.tables:
            numbers[table.folder] += 1
        return [
            {"scores": folder, "root": root, "tables": number}
            for folder, root, number in zip(
                self.tables.folders, self.tables.roots, numbers, strict=True
            )
        ]

    def write(self, folder: Folder) -> Selection:
        """Write the kept rows and the record; the rows' file, which carries both, is the commit."""
        folder.create()
        folder.remove_leftovers()
        digest = hashlib.blake2b(digest_size=16)
        for table in self.tables.tables:
            digest.update(f"{table.folder}/{table.shard}\n".encode())
        with folder.atomic(ROWS) as file, _writer(file) as writer:
            written = 0
            shards = pa.array([table.shard for table in self.tables.tables])
            owners = np.array([table.folder for table in self.tables.tables], dtype=np.int16)
            for positions in self._kept_positions():
                digest.update(positions.tobytes())
                places = positions >> ROW_BITS
                rows = (positions & ((1 << ROW_BITS) - 1)).astype(np.int32)
                shard = pa.DictionaryArray.from_arrays(places.astype(np.int32), shards)
                writer.write_batch(
                    pa.record_batch(
                        [pa.array(owners[places]), shard, pa.array(rows)], schema=KEPT_SCHEMA
                    )
                )
                written += len(positions)
            if written != self.kept:
                raise PairsiftError(
                    f"the score tables changed while they were read ({written} rows kept, "
                    f"{self.kept} counted); run the command again when scoring has ended"
                )
            self.digest = digest.hexdigest()
            record = self.record()
            content = json.dumps(record.to_json())
            writer.add_key_value_metadata({RECORD_KEY.decode(): content})
        folder.write(RECORD, (json.dumps(record.to_json(), indent=1) + "\n").encode())
        return Selection(record, folder.url)

    def _kept_positions(self) -> Iterator[np.ndarray]:
        """Positions of the kept rows, ascending, a step at a time."""
        if self.by is None:
            yield from self._stream(f"SELECT pos FROM pool WHERE {self.passing}")
            return
        cuts = [cut for cut in self.cuts if cut.kept]
        if not cuts:
            return
        ties = tied_positions(
            self.connection, self.ranked("pos", "uid", "shard", "key"), cuts, self.seed
        )
        if self.per is None:
            (cut,) = cuts
            assert self.by is not None
            assert cut.threshold is not None
            edge = number_sql(cut.threshold, single=self.by.single)
            at_edge = f"{self.by.sql} = {edge}" if cut.ties_kept < cut.ties else "FALSE"
            sql = (
                f"SELECT pos, {at_edge} AS tied FROM pool "
                f"WHERE {self.passing} AND {self.by.sql} >= {edge}"
            )
        else:
            edges = ", ".join(
                f"({literal(cut.group)}, {number_sql(cut.threshold or 0.0)}, "
                f"{cut.ties_kept < cut.ties})"
                for cut in cuts
            )
            sql = (
                f"SELECT pos, open AND val = edge AS tied FROM ({self.ranked('pos')}) "
                f"JOIN (VALUES {edges}) AS edges(edge_group, edge, open) "
                "ON grp IS NOT DISTINCT FROM edge_group AND val >= edge ORDER BY pos"
            )
        yield from self._stream(sql, ties)

    def _stream(self, sql: str, ties: np.ndarray | None = None) -> Iterator[np.ndarray]:
        for batch in _batches(self.connection, sql):
            positions = batch.column(0).to_numpy()
            if ties is not None:
                tied = np.flatnonzero(batch.column(1).to_numpy(zero_copy_only=False))
                lost = tied[~np.isin(positions[tied], ties)]
                positions = np.delete(positions, lost)
            if len(positions):
                yield positions


def _batches(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    relation = connection.sql(sql)
    if hasattr(relation, "to_arrow_reader"):
        return iter(relation.to_arrow_reader(_STEP))
    return iter(relation.fetch_arrow_reader(_STEP))  # its name in DuckDB 1.x


@contextlib.contextmanager
def _writer(file: IO[bytes]) -> Iterator[pq.ParquetWriter]:
    with pq.ParquetWriter(
        file,
        KEPT_SCHEMA,
        compression="zstd",
        use_dictionary=["shard"],
        column_encoding={"row": "DELTA_BINARY_PACKED"},
        write_statistics=True,
    ) as writer:
        yield writer
