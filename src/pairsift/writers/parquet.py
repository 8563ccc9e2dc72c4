"""A list of the kept rows: the columns of the score tables, in one parquet file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.select.record import Selection
from pairsift.sources.outputs import OUTPUT_KEY
from pairsift.storage import OutputKind, output_file

_CONTENT = b"kept rows"


def _is_list(file: IO[bytes]) -> bool:
    return (pq.read_metadata(file).metadata or {}).get(OUTPUT_KEY) == _CONTENT


LIST = OutputKind("a list of kept rows of Pairsift", _is_list)


@dataclass(frozen=True, slots=True)
class ParquetList:
    """A written list."""

    path: str
    rows: int

    def lines(self) -> list[str]:
        """What was written, for people."""
        return [f"{self.rows:,} rows in {self.path}"]


def write_parquet(
    selection: Selection, path: str | os.PathLike[str], columns: Sequence[str] | None = None
) -> ParquetList:
    """Write the kept rows of all score tables into one parquet file, shard by shard.

    If nothing is kept, the file has the columns but no rows.

    Args:
        columns: columns of the score tables; None for all.

    Raises:
        PairsiftError: a score table is missing, or has no such column; or the path holds a file
            that is not such a list.
    """
    if columns is not None:
        columns = selection.check_columns(columns, "columns")
    target = os.fspath(path)
    folder, name = output_file(target, LIST)
    folder.create()
    folder.remove_leftovers()
    schema = selection.schema()
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    # Replaces the shards' own metadata, which would be wrong for the whole list.
    schema = schema.with_metadata({OUTPUT_KEY: _CONTENT})
    rows = 0
    with (
        folder.atomic(name) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for shard in selection.shards():
            table = shard.table(columns).replace_schema_metadata(schema.metadata)
            writer.write_table(table)
            rows += len(table)
    return ParquetList(target, rows)
