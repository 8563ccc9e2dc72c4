"""What `pairsift dedup` found, as `select` reads it: groups of copies, and marks of contamination.

Both are tables with a row's ``shard`` and ``key``, so that what was found by one scorer's tables
holds for any other's of the same pool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import IO, Any

import duckdb
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.expressions.database import file_of, run_sql
from pairsift.select.tables import ScoreTables
from pairsift.storage import Folder, OutputKind

GROUPS = "groups.parquet"
MARKS = "marks.parquet"
TABLE = "group_of"
COPY_GROUP = "copy_group"
"""The column of `TABLE` with the group; no score table has one of this name."""
SAME = "(shard, key)"
RECORD_KEY = b"pairsift.dedup"
EMBEDDING = "embedding"
"""`on` of the record of `pairsift semantic-duplicates`"""


def _is_found(file: IO[bytes]) -> bool:
    return RECORD_KEY in (pq.read_metadata(file).metadata or {})


GROUPS_FILE = OutputKind("a table of `pairsift dedup`", _is_found)


def made_of(tables: ScoreTables) -> dict[str, str]:
    """Return a digest of the tables of each score folder, to tell later whether they changed."""
    digests = {folder: hashlib.blake2b(digest_size=12) for folder in tables.folders}
    for line in sorted((t.folder, f"{t.shard} {t.identity}\n") for t in tables.tables):
        digests[tables.folders[line[0]]].update(line[1].encode())
    return {folder: digest.hexdigest() for folder, digest in digests.items()}


def check_groups_output(folder: Folder, on: str) -> None:
    """Check that groups may be written into a folder.

    Args:
        on: what they have in common: of `pairsift dedup`, or `EMBEDDING`; ``none`` for no groups.

    Raises:
        PairsiftError: their file would replace the groups of the other command, or a file of
            another kind.
    """
    folder.check_output(GROUPS, GROUPS_FILE)
    if on == "none" or not folder.exists(GROUPS):
        return
    try:
        held = _command(_read_record(folder, GROUPS))
    except (OSError, ValueError, KeyError):
        return  # an empty file
    if held != _command({"on": on}):
        raise PairsiftError(
            f"{folder.url} holds the groups of `pairsift {held}`, which `pairsift "
            f"{_command({'on': on})}` would replace; choose another --out, or remove {GROUPS} there"
        )


def _read_record(folder: Folder, name: str) -> dict[str, Any]:
    with folder.fs.open(folder.file(name), "rb") as file:
        record: dict[str, Any] = json.loads((pq.read_metadata(file).metadata or {})[RECORD_KEY])
    return record


def _command(record: Mapping[str, Any]) -> str:
    """Return the command that writes groups with such a record."""
    return "semantic-duplicates" if record.get("on") == EMBEDDING else "dedup"


def load_groups(
    connection: duckdb.DuckDBPyConnection, url: str, tables: ScoreTables | None = None
) -> None:
    """Make the table `TABLE`: ``pos`` of each grouped row of ``scored``, and its `COPY_GROUP`.

    Args:
        url: folder that `pairsift dedup` wrote.
        tables: the tables of ``scored``, which must not have changed since; None to let them.

    Raises:
        PairsiftError: it has no groups, or none of them has a row of these scores.
    """
    source = _source(connection, url, GROUPS, "--groups", tables)
    run_sql(
        connection,
        f'CREATE OR REPLACE TEMP TABLE {TABLE} AS SELECT DISTINCT pos, "group" AS {COPY_GROUP} '
        f"FROM (SELECT pos, shard, key FROM scored WHERE status = 'ok') JOIN {source} USING {SAME}",
    )
    _refuse_none(connection, f"FROM {TABLE}", source, url)
    _refuse_other_uids(connection, source, url)


def marked_sql(connection: duckdb.DuckDBPyConnection, url: str, tables: ScoreTables) -> str:
    """SQL of the ``pos`` of rows that `pairsift dedup --against` marked.

    Raises:
        PairsiftError: it marked rows, but none of these scores.
    """
    source = _source(connection, url, MARKS, "--exclude", tables)
    rows = (
        f"(SELECT pos, shard, key FROM scored WHERE status = 'ok') SEMI JOIN {source} USING {SAME}"
    )
    _refuse_none(connection, f"FROM {rows}", source, url)
    _refuse_other_uids(connection, source, url)
    return f"SELECT pos FROM {rows}"


def has_marks(url: str) -> bool:
    """Whether a path is a folder with marks, and not a list of uids."""
    folder = Folder(url)
    return not folder.fs.isfile(folder.path) and folder.exists(MARKS)


def _source(
    connection: duckdb.DuckDBPyConnection,
    url: str,
    name: str,
    option: str,
    tables: ScoreTables | None,
) -> str:
    folder = Folder(url)
    if not folder.exists(name):
        raise PairsiftError(
            f"{option} {url}: there is no {name}; give the folder that `pairsift dedup` wrote"
        )
    try:
        record = _read_record(folder, name)
    except (OSError, ValueError, KeyError):
        raise PairsiftError(
            f"{option} {url}: {folder.file(name)} is not what `pairsift dedup` wrote, or damaged; "
            "give its folder, or run `pairsift dedup` again"
        ) from None
    now = made_of(tables) if tables is not None else {}
    for scores, digest in (record.get("tables") or {}).items():
        if now.get(scores, digest) != digest:
            raise PairsiftError(
                f"{option} {url}: the tables in {scores} have changed since; run "
                f"`pairsift {_command(record)}` again"
            )
    return f"read_parquet({file_of(connection, folder, name)})"


def _refuse_none(connection: duckdb.DuckDBPyConnection, rows: str, source: str, url: str) -> None:
    if run_sql(connection, f"SELECT 1 {rows} LIMIT 1").fetchall():
        return
    ours = run_sql(connection, "SELECT shard || '/' || key FROM scored LIMIT 1").fetchall()
    theirs = run_sql(connection, f"SELECT shard || '/' || key FROM {source} LIMIT 1").fetchall()
    if ours and theirs:
        raise PairsiftError(
            f"{url} is of other scores: its rows look like {theirs[0][0]!r}, these like "
            f"{ours[0][0]!r}; give what `pairsift dedup` wrote for this pool"
        )


def _refuse_other_uids(connection: duckdb.DuckDBPyConnection, source: str, url: str) -> None:
    """Pools that count their samples have the same shards and keys, but not the same uids."""
    found = run_sql(
        connection,
        f"SELECT shard || '/' || key FROM scored JOIN {source} AS found USING {SAME} "
        "WHERE scored.uid <> found.uid LIMIT 1",
    ).fetchall()
    if found:
        raise PairsiftError(
            f"{url} is of other scores: {found[0][0]!r} has another uid there; give what "
            "`pairsift dedup` wrote for this pool"
        )
