"""Find the score tables, check that they were scored the same way, open them in DuckDB."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from pairsift.errors import PairsiftError
from pairsift.expressions.database import (
    file_sql,
    literal_path,
    readable_errors,
    register_filesystem,
    run_sql,
)
from pairsift.manifest import differences
from pairsift.scores import (
    FACTS_KEY,
    FINGERPRINT_KEY,
    IDENTITY_KEY,
    MANIFEST,
    TableIdentity,
    content_identity,
    read_fingerprint,
)
from pairsift.sources.files import normalise, refuse_special
from pairsift.storage import Folder

SUFFIX = ".parquet"
# A row's position: the number of the table in the high bits, the row number in the low bits.
ROW_BITS = 32


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """One score file: `folder` indexes :attr:`ScoreTables.folders`, `shard` names the table."""

    folder: int
    shard: str
    path: str
    identity: TableIdentity

    @property
    def rows(self) -> int:
        """Number of its rows."""
        return self.identity.rows


@dataclass(frozen=True)
class ScoreTables:
    """All score tables of one or more folders, of one fingerprint, in order of folder and name.

    Attributes:
        folders: the folders as given.
        roots: for each folder, the root of its source shards; None if the manifest does not say.
        fingerprint: the fingerprint of the scores.
    """

    folders: tuple[str, ...]
    roots: tuple[str | None, ...]
    tables: tuple[ScoreTable, ...]
    fingerprint: dict[str, str]

    def scan_sql(self) -> str:
        """Return SQL of a scan of all tables, with ``pos``, the row's position (see `ROW_BITS`)."""
        return (
            f"SELECT *, (file_index::BIGINT << {ROW_BITS}) | file_row_number AS pos "
            f"FROM {_read_sql(self.tables, 'file_row_number = true')}"
        )

    def sample_sql(self, rows: int) -> str:
        """Return SQL of a scan of whole tables, evenly spread, with about `rows` rows or all.

        There is at least one table, which may have more rows.
        """
        total = sum(table.rows for table in self.tables)
        step = min(max(1, total // max(rows, 1)), len(self.tables))
        return f"SELECT * FROM {_read_sql(self.tables[step // 2 :: step])}"


def _read_sql(tables: Sequence[ScoreTable], *options: str) -> str:
    files = ", ".join(file_sql(table.path) for table in tables)
    return f"read_parquet({', '.join([f'[{files}]', *options])})"


def find_score_tables(
    connection: duckdb.DuckDBPyConnection, scores: str | Sequence[str]
) -> ScoreTables:
    """List the tables of score folders and check that all were scored the same way.

    Args:
        scores: folders that ``pairsift score`` wrote, as paths or fsspec URLs.

    Raises:
        PairsiftError: a folder is missing, empty or holds no scores; or the fingerprints differ,
            naming the fields.
    """
    folders = [normalise(url) for url in ([scores] if isinstance(scores, str) else scores)]
    if not folders:
        raise PairsiftError("no score folder given")
    if len(set(folders)) < len(folders):
        raise PairsiftError(f"a score folder is given twice: {', '.join(sorted(folders))}")
    files: list[tuple[int, str, str]] = []
    roots: list[str | None] = []
    for index, url in enumerate(folders):
        folder = Folder(url)
        is_file = folder.fs.isfile(folder.path)
        listed = set() if is_file else folder.names()
        names = sorted(name for name in listed if name.endswith(SUFFIX))
        if not names:
            raise PairsiftError(_nothing_there(folder))
        prefix = folder.path
        if folder.is_local:
            for name in names:
                refuse_special(folder.file(name))
        else:
            register_filesystem(connection, folder.fs)
            prefix = folder.fs.unstrip_protocol(folder.path).rstrip("/")
        files += [(index, name[: -len(SUFFIX)], f"{prefix}/{name}") for name in names]
        roots.append(_root(folder))
    paths = [path for _, _, path in files]
    fingerprint, contents = _read_footers(connection, paths)
    rows = dict(
        run_sql(
            connection,
            "SELECT file_name, num_rows FROM parquet_file_metadata($paths)",
            {"paths": list(map(literal_path, paths))},
        ).fetchall()
    )
    tables = tuple(
        ScoreTable(index, name, path, TableIdentity(rows[path], contents[path]))
        for index, name, path in files
    )
    return ScoreTables(tuple(folders), tuple(roots), tables, fingerprint)


def _nothing_there(folder: Folder) -> str:
    if not folder.fs.exists(folder.path):
        return f"there is no folder {folder.url}; give the folder that `pairsift score` wrote"
    if folder.fs.isfile(folder.path):
        return f"{folder.url} is a file; give the folder that `pairsift score` wrote"
    return (
        f"{folder.url} holds no score tables ({SUFFIX} files); "
        "run `pairsift score` into it first, or give another folder"
    )


def _root(folder: Folder) -> str | None:
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        return str(json.loads(folder.read(MANIFEST))["root"])
    return None


def _read_footers(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the common fingerprint of all tables, and the content identity of each.

    Every footer is read, because files can be copied from folder to folder by hand.
    """
    found = _metadata(connection, paths, FINGERPRINT_KEY, IDENTITY_KEY)
    if unmarked := [path for path in paths if FINGERPRINT_KEY not in found[path]]:
        read_fingerprint(None, min(unmarked))
    # There are few different values, so each is parsed once.
    of_bytes: dict[bytes, str] = {}
    for path in sorted(paths):
        of_bytes.setdefault(found[path][FINGERPRINT_KEY], path)
    first, first_path = None, ""
    for value, path in of_bytes.items():
        other = read_fingerprint({FINGERPRINT_KEY: value}, path)
        if first is None:
            first, first_path = other, path
        if differing := differences(first, other):
            raise PairsiftError(
                f"{first_path} and {path} were scored differently: "
                + "; ".join(
                    f"{each.field} is {each.there!r} in one and {each.now!r} in the other"
                    for each in differing
                )
                + ". Select from one of them only, or add the other with --join NAME=PATH"
            )
    assert first is not None
    if older := [path for path in paths if IDENTITY_KEY not in found[path]]:
        found |= _metadata(connection, older, FACTS_KEY)
    return first, {path: content_identity(metadata) for path, metadata in found.items()}


def _metadata(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], *keys: bytes
) -> dict[str, dict[bytes, bytes]]:
    """Read the given keys of the files' key-value metadata."""
    wanted = ", ".join(f"'{key.decode()}'::BLOB" for key in keys)
    found: dict[str, dict[bytes, bytes]] = {path: {} for path in paths}
    rows = run_sql(
        connection,
        f"SELECT file_name, key, value FROM parquet_kv_metadata($paths) WHERE key IN ({wanted})",
        {"paths": list(map(literal_path, paths))},
    )
    with readable_errors():
        fetched = rows.fetchall()
    for path, key, value in fetched:
        found[path][bytes(key)] = bytes(value)
    return found
