"""Make a score folder of scores that were made elsewhere: `pairsift import`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pairsift.engines.base import RunSummary
from pairsift.engines.local import score_shards
from pairsift.engines.worker import describe_misfits
from pairsift.errors import NothingScoredError, PairsiftError
from pairsift.progress import Listener, NullListener
from pairsift.scorers.carried_fields import CarriedField, find_carried, parse_carried
from pairsift.scorers.imported import ImportedScores, ScoreIndex, parse_ranges
from pairsift.scores import TABLE_SUFFIX
from pairsift.sources import ShardSet, find_shards
from pairsift.sources.score_rows import KIND
from pairsift.sources.several import caption_names
from pairsift.storage import Folder


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What was imported.

    Attributes:
        run: the run that wrote the tables.
        columns: of each column the number of values, the smallest and the largest one; None for
            columns that are no numbers.
        rows: of the score folder, failures included.
        repeated: rows whose uid another row has too.
        table_rows, lost, matched: of an import for a pool: rows of the tables, those that could
            not be read, and samples of this run that have scores. None without a pool.
        first_lost: the first row that could not be read, and why.
        misfits: of an import for a pool: rows of the tables with a value of another type, or too
            long, by column.
    """

    run: RunSummary
    rows: int
    columns: Mapping[str, tuple[int, float | None, float | None]] = field(default_factory=dict)
    repeated: int = 0
    table_rows: int | None = None
    lost: int = 0
    matched: int | None = None
    first_lost: str | None = None
    misfits: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self) | {"run": self.run.to_json()}

    def lines(self) -> list[str]:
        """What was imported, for people."""
        found = [f"{self.rows:,} rows in {self.run.out}, {self.run.failures:,} failed"]
        for name, (count, low, high) in self.columns.items():
            measured = "" if low is None else f", from {low:g} to {high:g}"
            found.append(f"{count:>12,}  {name}: rows with a value{measured}")
        if self.matched is not None and self.run.rows:  # not if all was finished before
            found.append(
                f"{self.matched:,} of the {self.run.rows:,} samples that were read have a row "
                f"among the {self.table_rows:,} of the tables"
            )
        if self.misfits:
            found.append(describe_misfits(self.misfits))
        if self.lost:
            found.append(f"{self.lost:,} rows were lost; the first: {self.first_lost}")
        if self.repeated:
            found.append(
                f"{self.repeated:,} rows have the uid of another row; `pairsift select --unique` "
                "keeps the best of each"
            )
        return found + self.run.failure_lines()


def import_scores(
    tables: str | Sequence[str],
    out: str,
    *,
    columns: Sequence[str],
    uid: str | None = None,
    key: str | None = None,
    shard: str | None = None,
    pool: ShardSet | None = None,
    ranges: Mapping[str, str] | None = None,
    rescore_changed: bool = False,
    separator: str | None = None,
    encoding: str | None = None,
    listener: Listener | None = None,
) -> ImportSummary:
    """Make a score folder of tables of scores that were made elsewhere.

    Without a pool, each file of `tables` becomes a score table with the same rows, to select from,
    to report and to write lists and subsets of. With a pool, each of its shards gets a table with
    a row for each sample, so that everything works as with scores of Pairsift; its images are read
    once, for their checksums, and not decoded.

    A value that is null, NaN, or not of the column's type is null. A row whose uid or key cannot be
    used, or with a value outside its range, is `row_invalid`.

    Args:
        tables: parquet, CSV, TSV or JSON lines: paths, globs, folders, URLs.
        out: the score folder; a run is resumed there.
        columns: as ``--columns`` has them: ``clip``, ``similarity=clip.l14:number``.
        uid, key, shard: columns with the sample's names; None for ``uid``, or the row's number.
        pool: the shards of the samples; matched by uid, else by key, or shard and key.
        ranges: of columns, ``LOW:HIGH``.
        rescore_changed: import tables (with a pool: its shards) again that changed since; without
            it, such are an error.
        separator, encoding: of CSV and the like.
        listener: receives the progress; None for nobody.

    Returns:
        what was imported.

    Raises:
        PairsiftError: a column is missing, two rows of a sample contradict each other, or `out`
            holds other scores.
        NothingScoredError: no sample of the pool has a row.

    Examples:
        >>> import csv
        >>> with open("clip.csv", "w", newline="") as file:
        ...     csv.writer(file).writerows([["key", "clip"], ["a", 0.31], ["b", 0.12]])
        >>> import_scores("clip.csv", "imported", columns=["clip"], key="key").columns
        {'clip': (2, 0.12, 0.31)}
    """
    listener = listener or NullListener()
    named = {"uid": uid, "key": key, "shard": shard, "separator": separator, "encoding": encoding}
    if shard is not None and key is None:
        raise PairsiftError("--shard names the shard of a key; give --key too")
    found = find_shards(tables, kind=KIND, **named)
    typed = find_carried(columns, found, out, "--columns")
    fields = parse_carried(typed, "--columns")
    if not fields:
        raise PairsiftError("no columns to import; name them with --columns")
    read = json.dumps([field.path for field in fields])
    limits = parse_ranges(ranges or {})
    index = None
    if pool is not None:
        for note in pool.notes:
            listener.message(note)
        listener.message("reading the tables")
        by_uid = uid is not None or (key is None and _has_uid(found))
        if not by_uid and key is None:
            raise PairsiftError(
                "--pool: samples are found by their uid or key; name the column with --uid or --key"
            )
        if by_uid:
            named |= {"key": None, "shard": None}  # they need not be unique
        found = find_shards(tables, kind=KIND, **named, columns=read)
        index = ScoreIndex(found, fields, by_uid)
    several = pool is not None and bool(caption_names(pool.options))
    scorer = ImportedScores(fields, limits, index, several)
    shards = pool or find_shards(tables, kind=KIND, **named, columns=read)
    run = score_shards(
        shards,
        scorer,
        out,
        workers=0,
        max_failure_rate=1.0,
        rescore_changed=rescore_changed,
        listener=listener,
    )
    if index is not None and index.rows and not index.matched and run.rows:
        raise NothingScoredError(
            f"no sample of the pool has a row in the tables: {index.unlike()}; the score tables in "
            f"{out} have no scores: match by another column (--uid, --key, --shard) into another "
            "--out"
        )
    return _summary(run, fields, index)


def _has_uid(tables: ShardSet) -> bool:
    from pairsift.sources.tables import TableReader

    options = dict(tables.shards[0].options)
    with TableReader(
        tables.shards[0].url, options.get("separator"), options.get("encoding")
    ) as table:
        return "uid" in table.columns


def _summary(
    run: RunSummary, fields: Sequence[CarriedField], index: ScoreIndex | None
) -> ImportSummary:
    """Count what the tables of the folder hold."""
    from pairsift.expressions.database import file_of, open_database, run_sql
    from pairsift.expressions.terms import quoted

    folder = Folder(run.out)
    names = sorted(name for name in folder.names() if name.endswith(TABLE_SUFFIX))
    if not names:
        return ImportSummary(run, 0)
    told = ["count(*)", "count(uid) - count(DISTINCT uid)"]
    for each in fields:
        name = quoted(each.name)
        number = each.type in ("number", "integer")
        told += [f"count({name})", *([f"min({name})", f"max({name})"] if number else ["NULL"] * 2)]
    with open_database() as connection:
        tables = ", ".join(file_of(connection, folder, name) for name in names)
        (found,) = run_sql(
            connection, f"SELECT {', '.join(told)} FROM read_parquet([{tables}])"
        ).fetchall()
    rows, repeated, *counts = found
    columns = {
        each.name: tuple(counts[3 * place : 3 * place + 3]) for place, each in enumerate(fields)
    }
    if index is None:
        return ImportSummary(run, rows, columns, repeated)
    return ImportSummary(
        run,
        rows,
        columns,
        repeated,
        index.rows,
        index.lost,
        index.matched,
        index.first_lost,
        index.misfits,
    )
