"""Select rows by conditions and by an exact cut, and record the query."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

import pairsift
from pairsift.arrow import arrow_array, text_array
from pairsift.errors import PairsiftError
from pairsift.expressions.compiler import compile_expression
from pairsift.expressions.database import arrow_batches, open_database, run_sql, score_columns
from pairsift.expressions.parsing import split_conditions
from pairsift.expressions.terms import Term, number_sql, ranking
from pairsift.scorers.registry import find_audit
from pairsift.scores import MANIFEST
from pairsift.select.agreement import Agreement, Audit, refuse_disagreement
from pairsift.select.checks import check_expressions, check_options, check_sample
from pairsift.select.cut import (
    Bracket,
    Wanted,
    counts_sql,
    find_brackets,
    find_cuts,
    has_value,
    literal,
    ranked_sql,
    read_counts,
    seeded_order_sql,
    values_sql,
    wanted,
)
from pairsift.select.join import Join, parse_join
from pairsift.select.kept import STEP, RowsAboveCut, read_positions
from pairsift.select.pool import OK, Pool
from pairsift.select.reasons import Reasons
from pairsift.select.record import (
    KEPT_SCHEMA,
    ROWS,
    Cut,
    Drop,
    Identities,
    Record,
    Selection,
    add_record,
    rows_writer,
    write_copy,
)
from pairsift.select.sampling import PENALTY, Draws, Sampler
from pairsift.select.tables import ROW_BITS, ScoreTables, find_score_tables
from pairsift.sources.files import normalise
from pairsift.storage import Folder

_EXCLUDED = "on an exclusion list"
_REPEATED = "same uid as a better row"
_REPEATED_FILE = "same image file as a better row (there is no uid)"
_REPEATED_EITHER = "same uid, or without one the same image file, as a better row"
_CAPTION = "another caption of the sample is better"
_NO_WEIGHT = "no weight to draw by"
_NOT_DRAWN = "not drawn"
_COPY = "copy of a better row"
_REPEATED_WORDS = {
    (): "same uid as a better row; but no row has a uid (with --hashes, image files are compared)",
    ("uid",): _REPEATED,
    ("file",): _REPEATED_FILE,
    ("uid", "file"): _REPEATED_EITHER,
}
_NO_RANK = "no value to rank by"
_BELOW_CUT = "below the cut"


def select(
    scores: str | Sequence[str],
    *,
    where: str | None = None,
    top: float | None = None,
    count: int | None = None,
    by: str | None = None,
    per: str | None = None,
    seed: int = 0,
    exclude: Sequence[str] = (),
    unique: bool = False,
    groups: str | None = None,
    per_group: int | None = None,
    sample: int | None = None,
    weights: str | None = None,
    repeat_penalty: float = PENALTY,
    best_caption: bool = False,
    joins: Sequence[str | Join] = (),
    agreement: float | None = None,
    out: str | os.PathLike[str] | None = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
) -> Selection:
    """Select rows of score tables by a condition, by an exact cut, or by both.

    Rows can be ranked if their status is ok, no list excludes them, they pass `where`, `by` has a
    value, and, with `unique`, no better row has the same uid. Of n such rows, `top` keeps exactly
    floor(top * n): those with the highest `by`. Which of equal rows at the cut are kept is decided
    by a hash of `seed` and the uid (shard and key if there is none). So the result depends neither
    on the order of files nor on the number of threads.

    Expressions hold columns, numbers, text, comparisons, arithmetic, and/or/not, and functions:
    min, max, abs, sqrt, log, exp, floor, ceil, round, coalesce, startswith, endswith, contains,
    length, lower. ``p70(itm)``, or ``percentile(itm, 70)``, is the smallest value that at least
    70 % of all ok rows with a value do not exceed. Null is never true.

    Args:
        scores: one score folder or several, as paths or fsspec URLs.
        where: condition that rows must pass, e.g. ``itm >= 40 and ctq >= 50``.
        top: fraction to keep of the rows that can be ranked, from 0 to 1; needs `by`.
        count: number of rows to keep, in place of `top`; needs `by`.
        by: column or expression to rank by, higher is better, e.g. ``0.5*itm + 0.5*odf``.
        per: column or expression; `top` or `count` holds for each of its values.
        seed: seed that decides which of equal rows at the cut are kept; 0.
        exclude: lists of uids to leave out: ``.npy`` as DataComp has it, parquet with a column
            ``uid``, or text with one uid per line; or folders of :func:`pairsift.dedup.dedup`,
            whose marked rows are left out.
        unique: keep only the best row of each uid: the highest `by`, then the first by shard and
            key. A row without a uid is known by its column ``image_sha256``, if there is one.
        groups: folder of :func:`pairsift.dedup.dedup`, for `per_group`.
        per_group: rows to keep of each group of copies: those with the highest `by`; the order of
            equal ones is decided by a hash, as at the cut. The cut is made among what is left.
        sample: number of rows to draw by `weights`, in place of a cut; a row may be drawn again,
            and is then kept several times.
        weights: expression of at least 0; a row is drawn in proportion to it, e.g.
            ``exp(itm/20)``. Rows without a value, or with 0, are not drawn.
        repeat_penalty: each draw of a row multiplies its weight by exp(-repeat_penalty); 0.15. 0
            draws with replacement, infinity draws each row once at most.
        best_caption: of scores of several captions of each sample, keep only the caption with the
            highest `by`; of equal ones the first.
        joins: other tables whose columns expressions may name as ``NAME.column``; a :class:`Join`,
            or text: ``NAME=PATH`` or ``NAME=PATH@uid``.
        agreement: for scores of a cascade: the fraction of the selection, 0 to 1, that must be the
            same as with full scoring; None for what the cascade was planned for.
        out: folder to write the selection to; None only counts.
        memory_limit: memory for the query; what needs more goes to a temporary folder on disk.
        threads: threads of the query; None for one per core.

    Returns:
        the selection. Its `record` holds the counts, the thresholds and what each condition
        dropped.

    Raises:
        PairsiftError: a folder holds no scores, or scores of different fingerprints; an
            expression names a column that does not exist; options do not go together; or, with
            `out`, a selection from a cascade's scores surely differs from full scoring by more
            than `agreement` allows.

    Examples:
        >>> selection = select("scores", where="caption_words > 1", top=0.7, by="smaller_side")
        >>> selection.kept
        2
        >>> selection.record.cuts[0].threshold
        300.0
    """
    check_options(top, count, by, per, groups, per_group, best_caption, unique)
    check_sample(sample, weights, repeat_penalty, ranks=top is not None or count is not None)
    asked: dict[str, Any] = {
        "where": where, "top": top, "count": count, "by": by, "per": per, "seed": seed,
        "exclude": [normalise(path) for path in exclude], "unique": unique,
        "groups": None if groups is None else normalise(groups), "per_group": per_group,
    }  # fmt: skip
    if best_caption:
        asked["best_caption"] = True
    if sample is not None:
        penalty = repeat_penalty if math.isfinite(repeat_penalty) else str(repeat_penalty)
        asked |= {"sample": sample, "weights": weights, "repeat_penalty": penalty}
    with open_database(memory_limit, threads) as connection:
        query = _Query(connection, find_score_tables(connection, scores), seed)
        resolved = query.pool.join(
            [parse_join(join) if isinstance(join, str) else join for join in joins]
        )
        query.asked = asked | {"joins": [asdict(join) for join in resolved]}
        query.cuts_off = top is not None or count is not None
        query.compile(where, by, per, weights)
        query.pool.exclude(exclude)
        more = unique or best_caption or per_group is not None or sample is not None
        if out is None or more or query.cuts_off or not query.pool.in_order:
            query.count_reasons(unique)  # else, the scan that writes the rows counts them as well
        if best_caption:
            query.choose_captions()
        if groups is not None and per_group is not None:
            query.thin_out(groups, per_group)
        if query.cuts_off:
            query.cut(wanted(top, count))
        if sample is not None:
            query.draw(sample, repeat_penalty)
        query.measure_agreement()
        if out is None:
            return Selection(query.record())
        if query.agreement is not None:
            least = query.agreement.wanted if agreement is None else agreement
            refuse_disagreement(query.agreement, least)
        folder = Folder(out)
        with folder.created():
            return query.write(folder)


def check_select(
    schema: pa.Schema,
    fingerprint: Mapping[str, str],
    *,
    where: str | None = None,
    top: float | None = None,
    count: int | None = None,
    by: str | None = None,
    per: str | None = None,
    groups: str | None = None,
    per_group: int | None = None,
    sample: int | None = None,
    weights: str | None = None,
    repeat_penalty: float = PENALTY,
    best_caption: bool = False,
    unique: bool = False,
    agreement: float | None = None,
) -> None:
    """Check the arguments of :func:`select` before the score tables exist.

    Args:
        schema, fingerprint: of the tables.

    Raises:
        PairsiftError: as :func:`select` would.
    """
    check_options(top, count, by, per, groups, per_group, best_caption, unique)
    check_sample(sample, weights, repeat_penalty, ranks=top is not None or count is not None)
    if agreement is not None and not 0 <= agreement <= 1:
        raise PairsiftError(f"--agreement {agreement} is not a fraction from 0 to 1")
    with open_database() as connection:
        connection.register("planned", schema.empty_table())
        columns = score_columns(connection, "planned")
        used = check_expressions(columns, where, by, per, weights)
    if (audit := find_audit(fingerprint)) is not None:
        audit.columns(frozenset(used))


class _Query:
    """The state of one selection while it is compiled, counted, cut and written."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, tables: ScoreTables, seed: int
    ) -> None:
        self.connection = connection
        self.tables = tables
        self.pool = Pool(connection, tables)
        self.seed = seed
        self.asked: dict[str, Any] = {}
        self.percentiles: dict[str, float] = {}
        self.conditions: list[tuple[str, Term]] = []
        self.reasons = Reasons([OK])
        self.counted = False  # until then, `rows`, `dropped` and `kept` are not known
        self.by: Term | None = None
        self.cuts_off = False  # without, `by` only says which of equals is best
        self.per: Term | None = None
        self.weights: Term | None = None
        self.sampler: Sampler | None = None
        self.draws: Draws | None = None
        self.rows = 0
        self.failed: dict[str, int] = {}
        self.dropped: list[Drop] = []
        self.cuts: list[Cut] = []
        self.kept = 0
        self.digest = ""
        self.audit: Audit | None = None
        self.agreement: Agreement | None = None

    def compile(
        self, where: str | None, by: str | None, per: str | None, weights: str | None
    ) -> None:
        """Turn the expressions into SQL, and open the pool with the columns they use."""
        used = check_expressions(self.pool.columns, where, by, per, weights)
        if (audit := find_audit(self.tables.fingerprint)) is not None:
            needed = audit.columns(frozenset(used))
            self.audit = audit if needed else None
            used |= needed
        self.pool.open(frozenset(used))
        if where is not None:
            self.conditions = [
                (text, self._compile(text, "--where"))
                for text in split_conditions(where, self.pool.columns)
            ]
        self.reasons = Reasons([OK, *(term.sql for _, term in self.conditions)])
        self.by = None if by is None else self._compile(by, "--by")
        self.per = None if per is None else self._compile(per, "--per")
        self.weights = None if weights is None else self._compile(weights, "--weights")

    def _compile(self, text: str, option: str) -> Term:
        return compile_expression(text, self.pool.columns, option, self._percentile)

    def _percentile(self, term: Term, percent: Fraction, name: str) -> float:
        """Nearest-rank percentile over all ok rows, as numpy's ``inverted_cdf``."""
        if name not in self.percentiles:
            cuts = self._find_cuts(
                "pool", OK, term, None, lambda n: n - max(1, math.ceil(n * percent / 100)) + 1
            )
            if not cuts or cuts[0].threshold is None:
                if not self.connection.execute(f"SELECT 1 FROM pool WHERE {OK} LIMIT 1").fetchall():
                    return math.nan  # there are no rows, so no row is compared with it
                raise PairsiftError(f"{name} cannot be computed: no row has a value for it")
            self.percentiles[name] = cuts[0].threshold
        return self.percentiles[name]

    @property
    def passing(self) -> str:
        """SQL condition of the rows that are ok and pass `where`."""
        return " AND ".join([OK, *(term.sql for _, term in self.conditions)])

    @property
    def scorable(self) -> str:
        """SQL condition of the rows that can be ranked."""
        if self.by is None or not self.cuts_off:
            return self.passing
        return f"{self.passing} AND {has_value(self.by)}"

    @property
    def best_first(self) -> str:
        """SQL of an order by rank, to be followed by other terms."""
        return "" if self.by is None else f"{ranking(self.by)} DESC NULLS LAST, "

    def count_reasons(self, unique: bool) -> None:
        """Count in one scan what every condition removes; then remove repeated uids."""
        sql = f"SELECT count(*), {self.reasons.sql} FROM {self.pool.rows} GROUP BY ALL"
        # A row for each combination that occurs, which is quicker than a filtered count of each.
        found = np.array(run_sql(self.connection, sql).fetchall(), dtype=np.int64)
        sizes, *codes = found.reshape(-1, 1 + self.reasons.columns).T
        self.reasons.add(codes, sizes)
        self._tell_reasons()
        if unique:
            self.pool.leave_out_repeated(self.scorable, self.best_first)
            self.kept -= self.pool.repeated
            self.dropped.append(Drop(_REPEATED_WORDS[self.pool.known_by], self.pool.repeated))

    def _tell_reasons(self) -> None:
        """Record what was counted."""
        self.counted = True
        reached = self.reasons.passed
        self.rows = self.reasons.rows + self.pool.excluded
        if self.reasons.rows > reached[0]:
            self.failed = self._count_failed()
        if self.pool.excluded:
            self.dropped.append(Drop(_EXCLUDED, self.pool.excluded))
        for place, (text, _) in enumerate(self.conditions, 1):
            removed = reached[place - 1] - reached[place]
            self.dropped.append(Drop(text, removed, self.reasons.alone[place]))
        self.kept = reached[-1]

    def choose_captions(self) -> None:
        """Of the captions of each sample, keep only the best."""
        others = self.pool.leave_out_captions(self.scorable, self.best_first)
        self.kept -= others
        self.dropped.append(Drop(_CAPTION, others))

    def thin_out(self, groups: str, keep: int) -> None:
        """Of each group of copies, keep only the best rows."""
        copies = self.pool.leave_out_copies(self.scorable, groups, keep, self.best_first, self.seed)
        self.kept -= copies
        self.dropped.append(Drop(_COPY, copies))

    def _count_failed(self) -> dict[str, int]:
        sql = f"SELECT status::VARCHAR, count(*) FROM pool WHERE NOT ({OK}) GROUP BY 1 ORDER BY 1"
        return dict(run_sql(self.connection, sql).fetchall())

    def cut(self, keep: Wanted) -> None:
        """Find the thresholds."""
        assert self.by is not None
        self.cuts = self._find_cuts(self.pool.rows, self.passing, self.by, self.per, keep)
        scorable = sum(cut.scorable for cut in self.cuts)
        self.dropped.append(Drop(_NO_RANK, self.kept - scorable))
        self.kept = sum(cut.kept for cut in self.cuts)
        self.dropped.append(Drop(_BELOW_CUT, scorable - self.kept))

    def draw(self, count: int, penalty: float) -> None:
        """Draw rows by weight, some perhaps several times.

        Raises:
            PairsiftError: a weight is negative or infinite, or there are too few rows.
        """
        assert self.weights is not None
        weight = f"CAST({ranking(self.weights)} AS DOUBLE)"
        identity = f"{seeded_order_sql(self.seed)} || md5(shard || '/' || key)"
        order = "" if self.pool.in_order else " ORDER BY pos"
        run_sql(
            self.connection,
            f"CREATE TEMP TABLE drawable AS SELECT pos, ('0x' || substr(md5({identity}), 1, 16))"
            f"::UBIGINT AS identity, {weight} AS weight "
            f"FROM ({self.pool.identified(self.passing)}) WHERE {weight} <> 0{order}",
        )
        ((least, largest, rows),) = run_sql(
            self.connection, "SELECT min(weight), max(weight), count(*) FROM drawable"
        ).fetchall()
        if rows and (least < 0 or math.isinf(largest)):
            raise PairsiftError(
                f'--weights "{self.asked["weights"]}" is '
                + (f"negative ({least:g})" if least < 0 else "infinite")
                + ' for some rows; weights are finite and at least 0, for example "exp(itm/20)"'
            )

        def scan() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            for batch in arrow_batches(self.connection, "FROM drawable", STEP):
                pos, name, value = (column.to_numpy() for column in batch.columns)
                yield pos, name, value

        self.sampler = Sampler(scan, count, penalty)
        self.draws = self.sampler.draw()
        self.dropped.append(Drop(_NO_WEIGHT, self.kept - rows))
        self.dropped.append(Drop(_NOT_DRAWN, rows - self.draws.distinct))
        self.kept = count

    def _find_cuts(
        self, rows: str, passing: str, by: Term, per: Term | None, keep: Wanted
    ) -> list[Cut]:
        sample = ranked_sql(self.pool.sample(), passing, by, per)
        brackets = find_brackets(self.connection, sample, keep)
        if per is None:
            bracket = brackets.get(None, Bracket())
            low, high = (number_sql(end, single=by.single) for end in (bracket.low, bracket.high))
            (found,) = run_sql(
                self.connection,
                f"SELECT {counts_sql(by.sql, low, high)} FROM {rows} "
                f"WHERE {passing} AND {has_value(by)}",
            ).fetchall()
            groups = [(None, bracket, read_counts(found))]
        else:
            ends = values_sql(
                [
                    (literal(group), number_sql(bracket.low), number_sql(bracket.high))
                    for group, bracket in brackets.items()
                ]
                or [("NULL", number_sql(-math.inf), number_sql(math.inf))],
                "ends(end_group, low, high)",
            )
            low, high = (f"coalesce({end}, {number_sql(far)})"
                         for end, far in (("low", -math.inf), ("high", math.inf)))  # fmt: skip
            counted = run_sql(
                self.connection,
                f"SELECT grp, {counts_sql('val', low, high)} "
                f"FROM ({ranked_sql(rows, passing, by, per)}) LEFT JOIN {ends} "
                "ON grp IS NOT DISTINCT FROM end_group GROUP BY grp",
            ).fetchall()
            groups = [
                (group, brackets.get(group, Bracket()), read_counts(found))
                for group, *found in counted
            ]
        return find_cuts(self.connection, ranked_sql(rows, passing, by, per), groups, keep)

    def measure_agreement(self) -> None:
        """For a cascade's scores, measure how much full scoring would select the same rows."""
        if self.audit is None:
            return
        by = self.by

        def ranked(rows: str) -> str:
            assert by is not None
            return ranked_sql(rows, self.passing, by, self.per, "pos")

        self.agreement = self.audit.measure(
            self.connection,
            self.pool.rows,
            self.passing,
            ranked if self.cuts_off else None,
            self.cuts,
        )

    def record(self) -> Record:
        """The record of what has been computed so far."""
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
            agreement=None if self.agreement is None else self.agreement.to_json(),
            repeats=0 if self.draws is None else self.kept - self.draws.distinct,
        )

    def _inputs(self) -> list[dict[str, Any]]:
        inputs: list[dict[str, Any]] = [
            {"scores": folder, "root": root, "tables": 0, "rows": 0}
            for folder, root in zip(self.tables.folders, self.tables.roots, strict=True)
        ]
        for table in self.tables.tables:
            inputs[table.folder]["tables"] += 1
            inputs[table.folder]["rows"] += table.rows
        for entry in inputs:
            tables = json.dumps(self._identities()[entry["scores"]], sort_keys=True)
            entry["content"] = hashlib.blake2b(tables.encode(), digest_size=12).hexdigest()
        return inputs

    def write(self, folder: Folder) -> Selection:
        """Write the kept rows and the record. The selection exists once `ROWS` is complete.

        Raises:
            PairsiftError: the folder is a score folder, where the rows would be read as scores.
        """
        if MANIFEST in folder.names():
            raise PairsiftError(
                f"{folder.url} is a folder of scores; choose another folder for the selection"
            )
        folder.remove_leftovers()
        digest = hashlib.blake2b(digest_size=16)
        for table in self.tables.tables:
            digest.update(f"{table.folder}/{table.shard}\n".encode())
        with folder.atomic(ROWS) as file, rows_writer(file) as writer:
            written = 0
            shards = text_array(table.shard for table in self.tables.tables)
            owners = np.array([table.folder for table in self.tables.tables], dtype=np.int16)
            for positions in self._kept_positions():
                digest.update(positions.data)
                places = (positions >> ROW_BITS).astype(np.int32)
                rows = (positions & ((1 << ROW_BITS) - 1)).astype(np.int32)
                shard = pa.DictionaryArray.from_arrays(arrow_array(places), shards)
                columns = [arrow_array(owners[places]), shard, arrow_array(rows)]
                writer.write_batch(pa.record_batch(columns, schema=KEPT_SCHEMA))
                written += len(positions)
            there = sum(table.rows for table in self.tables.tables)
            if (written, self.rows) != (self.kept, there):
                raise PairsiftError(
                    f"the score tables changed while they were read (of {there} rows, {self.rows} "
                    f"were read; {self.kept} were counted, {written} were written); wait until "
                    "scoring has finished, then run the command again"
                )
            self.digest = digest.hexdigest()
            record = self.record()
            selection = Selection(record, folder.url, self._identities())
            add_record(writer, selection)
        write_copy(folder, record)
        return selection

    def _identities(self) -> Identities:
        found: Identities = {folder: {} for folder in self.tables.folders}
        for table in self.tables.tables:
            found[self.tables.folders[table.folder]][table.shard] = table.identity
        return found

    def _kept_positions(self) -> Iterator[np.ndarray]:
        """Return the positions of the kept rows, ascending."""
        if self.sampler is not None and self.draws is not None:
            return self.sampler.positions(self.draws)
        if not self.counted:
            return self._counted_positions()
        if self.by is None or not self.cuts_off:
            order = "" if self.pool.in_order else " ORDER BY pos"
            sql = f"SELECT pos FROM {self.pool.rows} WHERE {self.scorable}{order}"
            return read_positions(self.connection, sql)
        return RowsAboveCut(
            self.connection, self.pool, self.passing, self.scorable, self.by, self.per, self.cuts,
            self.seed,
        ).positions()  # fmt: skip

    def _counted_positions(self) -> Iterator[np.ndarray]:
        """Return the positions of the rows that pass, and count the reasons of all on the way."""
        sql = f"SELECT pos, {self.reasons.sql} FROM {self.pool.rows}"
        for batch in arrow_batches(self.connection, sql, STEP):
            positions, *codes = map(np.from_dlpack, batch.columns)
            passing = self.reasons.add(codes)
            if passing.any():
                yield positions[passing]
        self._tell_reasons()
