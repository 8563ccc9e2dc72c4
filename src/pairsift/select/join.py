"""Add columns of other tables to the scores: of another scorer, img2dataset or DataComp.

Rows are matched by uid or key, never by their order: img2dataset writes rows in the order in which
downloads finish, failed ones included. Keys match across types: the number 12 matches the key "12".
It also matches "00012", unless two keys of a table would then be equal.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.database import file_sql, register_filesystem, run_sql
from pairsift.expressions.terms import Term, column_term, quoted
from pairsift.scorers.caption_index import CAPTION_INDEX
from pairsift.scores import FINGERPRINT_KEY
from pairsift.select.tables import SUFFIX
from pairsift.sources import files
from pairsift.sources.tables import TableReader, checked_fields, is_table
from pairsift.sources.text_files import table_extension
from pairsift.storage import Folder

_log = logging.getLogger("pairsift.inputs")
_SPELLING = re.compile(r"^(?P<name>[A-Za-z_]\w*)=(?P<path>.+?)(?:@(?P<on>uid|key|shard))?$")
_WILDCARDS = re.compile(r"[*?[]")
_CHUNK_ROWS = 50_000
_NAMES = {"uid": ("uid",), "key": ("key",), "shard": ("shard", "key")}
_TOLD = {"uid": "uids", "key": "keys", "shard": "shards and keys"}


@dataclass(frozen=True, slots=True)
class Join:
    """A table whose columns expressions may name, as ``name.column``.

    Attributes:
        path: a score folder; a table, parquet, CSV, TSV or JSON lines; a folder of tables of one
            kind, or a pattern (``*``, ``?``, ``[...]``) of their names.
        on: ``uid``, ``key`` (unique in the whole table) or ``shard`` (shard and key). None takes
            shard and key for a score folder, else uid if both sides have it, else key.
    """

    name: str
    path: str
    on: str | None = None


def parse_join(text: str) -> Join:
    """Parse ``NAME=PATH`` or ``NAME=PATH@uid``.

    Raises:
        PairsiftError: it has another form.
    """
    match = _SPELLING.match(text)
    if match is None:
        raise PairsiftError(
            f"--join {text!r} is not of the form NAME=PATH; write for example clip=scores/clip, or "
            "meta=metadata@uid to join by uid, and then use clip.clip_score in --where"
        )
    return Join(match["name"], match["path"], match["on"])


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """An opened join: its columns, and how to read and match them.

    Attributes:
        columns: the names for expressions, ``name.column``.
        fractional: those of floating point, such as scores, and whether each is float32; counts and
            sizes are whole numbers.
        types: DuckDB's types of the table's own columns.
    """

    join: Join
    source: str
    on: str
    columns: Mapping[str, Term]
    fractional: Mapping[str, bool]
    types: Mapping[str, str] = field(default_factory=dict)


def open_join(connection: duckdb.DuckDBPyConnection, join: Join, has_uid: bool) -> JoinedTable:
    """Find a join's table and its columns.

    Args:
        has_uid: whether the scores have uids, to choose what to join on.

    Raises:
        PairsiftError: there is no table, a line is malformed, or the columns to match are missing.
    """
    paths = _paths(connection, join)
    is_scores = False
    if table_extension(paths[0]) == SUFFIX:
        source = f"read_parquet([{', '.join(map(file_sql, paths))}], union_by_name = true)"
        is_scores = bool(
            run_sql(
                connection,
                f"SELECT 1 FROM parquet_kv_metadata([{file_sql(paths[0])}]) "
                f"WHERE key = '{FINGERPRINT_KEY.decode()}'::BLOB",
            ).fetchall()
        )
    else:
        source = quoted(f"joined {join.name}")
        _load(connection, source, paths)
    types = {
        name: kind for name, kind, *_ in run_sql(connection, f"DESCRIBE FROM {source}").fetchall()
    }
    on = join.on or _default_key(types, is_scores, has_uid)
    there = {name.lower() for name in types}  # the database ignores case in names
    missing = [name for name in _NAMES[on or "uid"] if name not in there]
    if on is None or missing:
        raise PairsiftError(
            f"--join {join.name}={join.path} cannot be joined by {on or 'uid or key'}: its columns "
            f"are {', '.join(types)}; add @uid, @key or @shard to join by another"
        )
    done = {"status": "'ok'"} if is_scores else {"status": "'success'"} if "status" in types else {}
    where = " AND ".join(f"{name}::VARCHAR = {value}" for name, value in done.items())
    columns, fractional = {}, {}
    for column, kind in types.items():
        name = f"{join.name}.{column}"
        columns[name] = column_term(name, quoted(name), kind)
        if kind in ("FLOAT", "DOUBLE"):
            fractional[name] = kind == "FLOAT"
    source = f"{source}{f' WHERE {where}' if where else ''}"
    return JoinedTable(join, source, on, columns, fractional, types)


def _paths(connection: duckdb.DuckDBPyConnection, join: Join) -> list[str]:
    url = files.normalise(join.path)
    folder = Folder(url)
    if not folder.is_local:
        register_filesystem(connection, folder.fs)
    else:
        files.refuse_special(url)
    if folder.fs.isfile(folder.path):
        found = [url]
    elif _WILDCARDS.search(join.path) and not folder.fs.exists(folder.path):
        found = sorted(entry.url for entry in files.glob(url) if not entry.is_folder)
    else:
        found = sorted(f"{url}/{name}" for name in folder.names())
    kinds = {table_extension(path) for path in found if is_table(path)}
    # A score folder has JSON files beside its tables.
    kind = SUFFIX if SUFFIX in kinds else min(kinds, default="")
    if SUFFIX not in kinds and len(kinds) > 1:
        raise PairsiftError(
            f"--join {join.name}={join.path} holds tables of several kinds "
            f"({', '.join(sorted(kinds))}); give a pattern that matches one kind, such as *.csv"
        )
    paths = [path for path in found if table_extension(path) == kind and is_table(path)]
    for path in paths if folder.is_local else ():
        files.refuse_special(path)
    if not paths:
        _, at, behind = join.path.rpartition("@")
        unknown = f"@{behind} is none of @uid, @key and @shard, and " if at and behind else ""
        raise PairsiftError(
            f"--join {join.name}={join.path}: {unknown}there is no table; give a file (parquet, "
            "CSV, TSV or JSON lines), a folder of such files, or a pattern"
        )
    return paths


def _load(connection: duckdb.DuckDBPyConnection, table: str, paths: Sequence[str]) -> None:
    """Load text tables into the database; each column gets a type that fits all its values."""
    columns: dict[str, str] = {}  # by lower-case name, because the database ignores case
    filled = False
    textual: set[str] = set()  # columns that stay text

    def add(names: Iterable[str]) -> None:
        for name in names:
            if not name or columns.get(name.lower()) == name:
                continue
            if name.lower() in columns:
                raise PairsiftError(
                    f"{paths[0]} has the columns {columns[name.lower()]!r} and {name!r}; the "
                    "names must differ in more than upper and lower case: rename one"
                )
            column = f"{quoted(name)} VARCHAR"
            run_sql(
                connection,
                f"ALTER TABLE {table} ADD COLUMN {column}"
                if columns
                else f"CREATE TEMP TABLE {table} ({column})",
            )
            columns[name.lower()] = name

    for path in paths:
        with TableReader(path) as reader:
            add(reader.columns)
            rows = (checked_fields(entry, path) for entry in reader)
            while chunk := list(islice(rows, _CHUNK_ROWS)):
                filled = True
                add(dict.fromkeys(name for row in chunk for name in row))
                if table_extension(path).startswith(".json"):
                    textual |= {n for row in chunk for n, v in row.items() if isinstance(v, str)}
                texts = {
                    name: pa.array([_text(row.get(name)) for row in chunk], pa.string())
                    for name in columns.values()
                }
                connection.register("join_chunk", pa.table(texts))
                run_sql(connection, f"INSERT INTO {table} BY NAME SELECT * FROM join_chunk")
                connection.unregister("join_chunk")
        _log.info("%s: %s", path, reader.counts())
    if not filled:
        header = f", only a header: {', '.join(columns.values())}" if columns else ""
        raise PairsiftError(f"{paths[0]} has no rows{header}; a table to join needs some")
    for name in columns.values():
        if name not in textual:
            _give_type(connection, table, quoted(name))


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _give_type(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> None:
    """Convert a column to numbers or booleans if nothing is lost, such as leading zeros."""
    for kind, form in (
        ("BIGINT", "^(0|-?[1-9][0-9]{0,17})$"),
        ("DOUBLE", "^[+-]?((0|[1-9][0-9]*)(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$|^(?i:nan)$"),
        ("BOOLEAN", "^(?i:true|false)$"),
    ):
        ((others, filled),) = run_sql(
            connection,
            f"SELECT count_if(NOT regexp_matches(trim({column}), '{form}')), count({column}) "
            f"FROM {table}",
        ).fetchall()
        if filled and not others:
            run_sql(connection, f"ALTER TABLE {table} ALTER {column} TYPE {kind}")
            return


def _default_key(types: Mapping[str, str], is_scores: bool, has_uid: bool) -> str | None:
    if is_scores:
        return "shard"
    if has_uid and "uid" in types:
        return "uid"
    return "key" if "key" in types else None


def joined_sql(
    connection: duckdb.DuckDBPyConnection, table: JoinedTable, left: str, used: frozenset[str]
) -> str:
    """Return SQL that adds the used columns of a table to `left`, null if the table has no row.

    If some rows of `left` have no match, the number of matches is logged.

    Args:
        left: with the columns shard, key, uid and status.

    Raises:
        PairsiftError: the table has several rows for one key or uid, or none for any of `left`.
    """
    ours, theirs = _match_sql(connection, table, left)
    prefix = f"{table.join.name}."
    names = sorted(name[len(prefix) :] for name in used if name in table.columns)
    columns = ", ".join(f"{quoted(name)} AS {quoted(prefix + name)}" for name in names)
    match = f"__{table.join.name}"
    right = f"SELECT {theirs} AS {quoted(match)}, {columns} FROM {table.source}"
    repeated = run_sql(
        connection,
        f"SELECT {quoted(match)}::VARCHAR FROM ({right}) WHERE {quoted(match)} IS NOT NULL "
        f"GROUP BY {quoted(match)} HAVING count(*) > 1 LIMIT 1",
    ).fetchall()
    if repeated:
        what = {"uid": "uid", "key": "key", "shard": "shard and key"}[table.on]
        raise PairsiftError(
            f"{_shown(table)}: the {what} {repeated[0][0]} occurs more than once; join by "
            "another column (@uid, @key or @shard), or remove the repeated rows"
        )
    return (
        f"SELECT * EXCLUDE ({quoted(match)}) FROM ({left}) AS ours "
        f"LEFT JOIN ({right}) AS theirs ON {ours} = theirs.{quoted(match)}"
    )


def _match_sql(
    connection: duckdb.DuckDBPyConnection, table: JoinedTable, left: str
) -> tuple[str, str]:
    """Return SQL of the expressions that must be equal, of `left` (``ours``) and the table."""
    floating = {name.lower() for name, kind in table.types.items() if kind in ("FLOAT", "DOUBLE")}
    names = _NAMES[table.on]
    if table.on == "shard" and CAPTION_INDEX in table.types:  # a row for each caption of a sample
        ours = run_sql(connection, f"DESCRIBE {left}").fetchall()
        names = (*names, *(name for name, *_ in ours if name == CAPTION_INDEX))
    exact = _name_sql(names, "ours."), _name_sql(names, "", floating)
    total, matched = _count(connection, table, left, exact)
    if table.on != "uid" and matched < total:
        plain = _name_sql(names, "ours.", zeros=False), _name_sql(names, "", floating, False)
        _, more = _count(connection, table, left, plain)
        if more > matched and _still_distinct(connection, table, left, exact, plain):
            _log.info(
                "%s: %s of %s %s match if leading zeros are ignored",
                _shown(table), f"{more:,}", f"{total:,}", _TOLD[table.on],
            )  # fmt: skip
            return plain
    if total and not matched:
        raw = ("ours.uid", "uid") if table.on == "uid" else exact
        here = _example(connection, raw[0], f"({left}) AS ours WHERE status = 'ok'")
        there = _example(connection, raw[1], table.source)
        raise PairsiftError(
            f"{_shown(table)}: 0 of {total:,} {_TOLD[table.on]} match. In the scores they look "
            f"like {here}, in the table like {there}; join by another column (@uid, @key or @shard)"
        )
    if matched < total:
        _log.info(
            "%s: %s of %s %s match", _shown(table), f"{matched:,}", f"{total:,}", _TOLD[table.on]
        )
    return exact


def _name_sql(
    names: Sequence[str], of: str, floating: Iterable[str] = (), zeros: bool = True
) -> str:
    """Return SQL of the identity by which a row is matched.

    Args:
        names: columns that make it.
        floating: columns that hold integers stored as floating point.
        zeros: whether leading zeros are significant.
    """
    if names == _NAMES["uid"]:
        return f"try_cast({of}uid AS UUID)"
    parts = []
    for name in names:
        sql = f"{of}{name}"
        text = f"{sql}::VARCHAR"
        if name in floating:
            text = f"CASE WHEN {sql} = floor({sql}) THEN {sql}::HUGEINT::VARCHAR ELSE {text} END"
        if not zeros:
            text = f"regexp_replace(({text}), '^0+([0-9]+)$', '\\1')"
        parts.append(f"({text})")
    return " || '/' || ".join(parts)


def _count(
    connection: duckdb.DuckDBPyConnection, table: JoinedTable, left: str, match: tuple[str, str]
) -> tuple[int, int]:
    """Count the ok rows of `left` that have an identity, and those that the table has too."""
    ours, theirs = match
    names = f"SELECT * FROM (SELECT {theirs} AS name FROM {table.source}) WHERE name IS NOT NULL"
    ((total, matched),) = run_sql(
        connection,
        f"SELECT count(*), count_if({ours} IN ({names})) "
        f"FROM ({left}) AS ours WHERE status = 'ok' AND {ours} IS NOT NULL",
    ).fetchall()
    return int(total), int(matched)


def _still_distinct(
    connection: duckdb.DuckDBPyConnection,
    table: JoinedTable,
    left: str,
    exact: tuple[str, str],
    plain: tuple[str, str],
) -> bool:
    """Return whether identities stay distinct on both sides if leading zeros are ignored."""
    relations = (f"({left}) AS ours", table.source)
    for relation, name, short in zip(relations, exact, plain, strict=True):
        ((names, left_over),) = run_sql(
            connection, f"SELECT count(DISTINCT {name}), count(DISTINCT {short}) FROM {relation}"
        ).fetchall()
        if names != left_over:
            return False
    return True


def _example(connection: duckdb.DuckDBPyConnection, name: str, relation: str) -> str:
    found = run_sql(connection, f"SELECT ({name})::VARCHAR FROM {relation} LIMIT 1").fetchall()
    return repr(found[0][0]) if found else "nothing: it has no rows"


def _shown(table: JoinedTable) -> str:
    return f"--join {table.join.name}={table.join.path}"


def with_on(table: JoinedTable) -> Join:
    """Return the join with the column that it is joined by, for the record."""
    return replace(table.join, on=table.on)
