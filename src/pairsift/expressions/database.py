"""Open DuckDB so that it spills to disk and reads any storage, with clear errors."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import duckdb
import fsspec
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.terms import Term, column_term, quoted, text_sql
from pairsift.printable import first_line
from pairsift.sources.base import printable
from pairsift.storage import Folder


@contextlib.contextmanager
def open_database(
    memory_limit: str = "2GB", threads: int | None = None, scratch: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB that spills into a temporary folder, removed at the end.

    Args:
        memory_limit: DuckDB's memory limit; more data is spilled to disk.
        threads: None for one per core.
        scratch: where to spill; None for the system's temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="pairsift-duckdb-", dir=scratch) as spill:
        config: dict[str, Any] = {
            "memory_limit": memory_limit,
            "temp_directory": spill,
            "autoinstall_known_extensions": "false",
        }
        if threads is not None:
            config["threads"] = threads
        try:
            connection = duckdb.connect(":memory:", config=config)
        except duckdb.Error as error:
            raise PairsiftError(f"DuckDB cannot start: {error}") from error
        try:
            connection.execute("SET enable_progress_bar = false")
            # Parquet statistics leave NaN out, so this optimizer would assume that there is none.
            connection.execute("SET disabled_optimizers = 'statistics_propagation'")
            yield connection
        finally:
            connection.close()


def register_filesystem(
    connection: duckdb.DuckDBPyConnection, fs: fsspec.AbstractFileSystem
) -> None:
    """Let DuckDB read through a fsspec file system; may be called more than once."""
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if not connection.filesystem_is_registered(protocol):
        connection.register_filesystem(fs)


def run_sql(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Any = None
) -> duckdb.DuckDBPyConnection:
    """Execute SQL; raise errors that the user can fix as :class:`PairsiftError`."""
    with readable_errors():
        return connection.execute(sql, parameters)


def arrow_reader(
    connection: duckdb.DuckDBPyConnection, sql: str, rows: int
) -> pa.RecordBatchReader:
    """The rows of a query, in batches of about so many."""
    with readable_errors():
        relation = connection.sql(sql)
        if hasattr(relation, "to_arrow_reader"):
            return relation.to_arrow_reader(rows)
        return relation.fetch_arrow_reader(rows)  # its name in DuckDB 1.x


def arrow_batches(
    connection: duckdb.DuckDBPyConnection, sql: str, rows: int
) -> Iterator[pa.RecordBatch]:
    """The batches of :func:`arrow_reader`; errors that come only while they are read are told."""
    with readable_errors():
        yield from arrow_reader(connection, sql, rows)


# By the first words of its message, what DuckDB raises for an error of which Arrow, which reads its
# batches, makes an OSError.
_STREAMED: dict[str, type[Exception]] = {
    "Out of Memory Error": duckdb.OutOfMemoryException,
    "IO Error": duckdb.IOException,
    "Invalid Input Error": duckdb.InvalidInputException,
    "Invalid Error": duckdb.Error,
}


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Raise DuckDB's errors that the user can fix as :class:`PairsiftError`."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        kind = type(error)
        if isinstance(error, OSError):
            kind = _STREAMED.get(str(error).partition(":")[0], kind)
        if issubclass(kind, duckdb.OutOfMemoryException):
            raise PairsiftError(
                f"DuckDB needs more than its memory limit ({first_line(error)}); raise "
                "--memory-limit"
            ) from error
        # Its parquet reader raises the base class for damaged bytes.
        damage = (duckdb.IOException, duckdb.InvalidInputException)
        if not issubclass(kind, damage) and kind is not duckdb.Error:
            raise
        raise PairsiftError(
            f"a table cannot be read: {first_line(error)}. If `pairsift score` wrote it, remove "
            "it and score again; if it is your own table, replace it by an undamaged one"
        ) from error


def literal_path(path: str) -> str:
    """Escape a path for DuckDB, which reads ``*``, ``?`` and ``[`` as wildcards.

    Raises:
        PairsiftError: it is not UTF-8, which DuckDB needs.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise PairsiftError(
            f"{printable(path)}: the path is not UTF-8; rename its folders and files"
        ) from None
    return re.sub(r"([*?\[])", r"[\1]", path)


def file_sql(path: str) -> str:
    """Return a path in SQL, for functions that read files."""
    return text_sql(literal_path(path))


def file_of(connection: duckdb.DuckDBPyConnection, folder: Folder, name: str) -> str:
    """A file of a folder in SQL, wherever the folder is."""
    if folder.is_local:
        return file_sql(folder.file(name))
    register_filesystem(connection, folder.fs)
    return file_sql(folder.fs.unstrip_protocol(folder.file(name)))


def score_columns(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, Term]:
    """Return the columns of a relation that expressions may name."""
    return {
        name: column_term(name, quoted(name), type_name)
        for name, type_name, *_ in run_sql(connection, f"DESCRIBE {relation}").fetchall()
        if name not in ("pos", "file_row_number")
    }
