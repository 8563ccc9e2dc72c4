"""What a run of `dedup` has finished, kept in its folder until the end, so that it can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.arrow import read_parquet
from pairsift.expressions.database import arrow_reader, file_of, run_sql
from pairsift.storage import Folder

STATE = "_dedup.json"
_PREFIX = "_stage-"
_STEP = 1 << 18


class Stages:
    """Intermediate tables, each committed whole under its name.

    Args:
        folder: of the output.
        identity: what the tables are made of. What another identity left is removed.
    """

    def __init__(self, folder: Folder, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        content = json.dumps(identity, sort_keys=True, indent=1).encode() + b"\n"
        folder.create()
        folder.remove_leftovers()
        if not (folder.exists(STATE) and folder.read(STATE) == content):
            self.clear()
            folder.write(STATE, content)
        self._names = folder.names()
        self.digest = hashlib.blake2b(content, digest_size=12).hexdigest()

    def has(self, name: str) -> bool:
        """Whether a stage is finished."""
        return _PREFIX + name in self._names

    def keep(self, connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
        """Commit the rows of a query."""
        reader = arrow_reader(connection, sql, _STEP)
        with (
            self.folder.atomic(_PREFIX + name) as file,
            pq.ParquetWriter(file, reader.schema, compression="zstd") as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
        self._names.add(_PREFIX + name)

    def keep_table(self, name: str, table: pa.Table) -> None:
        """Commit a table."""
        with self.folder.atomic(_PREFIX + name) as file:
            pq.write_table(table, file, compression="zstd")
        self._names.add(_PREFIX + name)

    def read(self, name: str) -> pa.Table:
        """Return the rows of a finished stage."""
        return read_parquet(self.folder.read(_PREFIX + name))

    def relation(self, connection: duckdb.DuckDBPyConnection, *names: str) -> str:
        """SQL of the rows of finished stages."""
        files = ", ".join(file_of(connection, self.folder, _PREFIX + name) for name in names)
        return f"read_parquet([{files}])"

    def clear(self) -> None:
        """Remove them, and the record of what they were made of."""
        for name in self.folder.names():
            if name.startswith(_PREFIX):
                self.folder.remove(name)
        self.folder.remove(STATE)
        self._names = set()


def materialise(connection: duckdb.DuckDBPyConnection, table: str, sql: str) -> int:
    """Make a temporary table of a query, which spills to disk; return its rows."""
    run_sql(connection, f"CREATE OR REPLACE TEMP TABLE {table} AS {sql}")
    ((rows,),) = run_sql(connection, f"SELECT count(*) FROM {table}").fetchall()
    return int(rows)
