"""Columns of other tables beside the scores: another scorer's, img2dataset's, DataComp's metadata.

A table is joined by what its rows are called, never by their order: img2dataset writes its rows as
downloads end, and lists the failed ones too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb

from pairsift.errors import PairsiftError
from pairsift.scores import FINGERPRINT_KEY
from pairsift.select.expression import Term, column_term, text_sql
from pairsift.select.tables import SUFFIX, quoted, register_filesystem, run_sql
from pairsift.sources.files import normalise
from pairsift.storage import Folder

_SPELLING = re.compile(r"^(?P<name>[A-Za-z_]\w*)=(?P<path>.+?)(?:@(?P<on>uid|key|shard))?$")
_MATCH = {
    "uid": "try_cast(uid AS UUID)",
    "key": "key::VARCHAR",
    "shard": "shard || '/' || key",
}


@dataclass(frozen=True, slots=True)
class Join:
    """A table whose columns expressions may name, as ``name.column``.

    Attributes:
        path: a score folder, a parquet file, or a folder of parquet files.
        on: ``uid``, ``key`` (unique in the whole table) or ``shard`` (shard and key); None to
            take shard and key for a score folder, else uid where both sides have it, else key.
    """

    name: str
    path: str
    on: str | None = None


def parse_join(text: str) -> Join:
    """Read ``NAME=PATH`` or ``NAME=PATH@uid``, as users write it.

    Raises:
        PairsiftError: it is not of that form.
    """
    match = _SPELLING.match(text)
    if match is None:
        raise PairsiftError(
            f"--join {text!r} is not NAME=PATH; write for example clip=scores/clip, or "
            "meta=metadata@uid to join by uid, and then name clip.clip_score in --where"
        )
    return Join(match["name"], match["path"], match["on"])


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """A join that was looked up: its columns, and how to read and match it.

    Attributes:
        columns: what expressions may name, ``name.column``.
        fractional: of these, the ones of floating point, with whether it is float32: such as
            scores are; counts and sizes are whole numbers.
    """

    join: Join
    source: str
    on: str
    columns: Mapping[str, Term]
    fractional: Mapping[str, bool]


def open_join(connection: duckdb.DuckDBPyConnection, join: Join, has_uid: bool) -> JoinedTable:
    """Find a join's table and its columns.

    Args:
        has_uid: whether the scores have uids, to choose what to join on.

    Raises:
        PairsiftError: there is none, or it has not the columns to join on.
    """
    paths = _paths(connection, join)
    listed = ", ".join(map(text_sql, paths))
    source = f"read_parquet([{listed}], union_by_name = true)"
    types = {
        name: kind for name, kind, *_ in run_sql(connection, f"DESCRIBE FROM {source}").fetchall()
    }
    is_scores = bool(
        run_sql(
            connection,
            f"SELECT 1 FROM parquet_kv_metadata([{text_sql(paths[0])}]) "
            f"WHERE key = '{FINGERPRINT_KEY.decode()}'::BLOB",
        ).fetchall()
    )
    on = join.on or _default_key(types, is_scores, has_uid)
    needed = {"uid": ["uid"], "key": ["key"], "shard": ["shard", "key"]}[on] if on else ["uid"]
    missing = [name for name in needed if name not in types]
    if on is None or missing:
        raise PairsiftError(
            f"--join {join.name}={join.path} cannot be joined on {on or 'uid or key'}: it has the "
            f"columns {', '.join(types)}; name another after @ (uid, key or shard)"
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
    return JoinedTable(join, source, on, columns, fractional)


def _paths(connection: duckdb.DuckDBPyConnection, join: Join) -> list[str]:
    folder = Folder(normalise(join.path))
    prefix = folder.path
    if not folder.is_local:
        register_filesystem(connection, folder.fs)
        prefix = folder.fs.unstrip_protocol(folder.path).rstrip("/")
    if folder.fs.isfile(folder.path):
        return [prefix]
    names = sorted(name for name in folder.names() if name.endswith(SUFFIX))
    if not names:
        raise PairsiftError(
            f"--join {join.name}={join.path}: no parquet file there; give one or a folder"
        )
    return [f"{prefix}/{name}" for name in names]


def _default_key(types: Mapping[str, str], is_scores: bool, has_uid: bool) -> str | None:
    if is_scores:
        return "shard"
    if has_uid and "uid" in types:
        return "uid"
    return "key" if "key" in types else None


def joined_sql(
    connection: duckdb.DuckDBPyConnection, table: JoinedTable, left: str, used: frozenset[str]
) -> str:
    """SQL of relation `left` with the used columns of a table beside it, null where it has no row.

    Raises:
        PairsiftError: the table has more than one row of one name, so that which to take is open.
    """
    theirs = _MATCH[table.on]
    ours = re.sub(r"\b(uid|key|shard)\b", r"ours.\1", theirs)
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
            f"--join {prefix[:-1]}={table.join.path}: the {what} {repeated[0][0]} is there more "
            "than once; join on another column (after @), or remove the repeated rows"
        )
    return (
        f"SELECT * EXCLUDE ({quoted(match)}) FROM ({left}) AS ours "
        f"LEFT JOIN ({right}) AS theirs ON {ours} = theirs.{quoted(match)}"
    )


def with_on(table: JoinedTable) -> Join:
    """The join as it was resolved, for the record."""
    return replace(table.join, on=table.on)
