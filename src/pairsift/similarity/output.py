"""A table with one value per row of score tables, to be joined to them: `--join NAME=PATH`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.similarity.vectors import EmbeddedTable
from pairsift.storage import OutputKind, output_file

RECORD_KEY = b"pairsift.similarity"


def _is_values(file: IO[bytes]) -> bool:
    return RECORD_KEY in (pq.read_metadata(file).metadata or {})


VALUES = OutputKind("a table of similarities of Pairsift", _is_values)


@dataclass(frozen=True, slots=True)
class Values:
    """What was written.

    Attributes:
        path: of the parquet file: shard, key, uid, of several captions of each sample also
            ``caption_index``, and the column `name`, float32.
        rows: number of rows; those that are not ok have no value.
        mean: of the values.
    """

    path: str
    name: str
    rows: int
    mean: float | None

    def lines(self) -> list[str]:
        """What was written, for people."""
        return [f"{self.rows:,} rows of {self.name} in {self.path}"]


def write_values(
    out: str | os.PathLike[str],
    name: str,
    values: Iterable[tuple[EmbeddedTable, np.ndarray]],
    record: Mapping[str, Any],
) -> Values:
    """Write a column of values, NaN for null, table by table.

    Raises:
        PairsiftError: `out` is a file of another kind.
    """
    folder, file_name = output_file(out, VALUES)
    folder.create()
    column = pa.field(name, pa.float32())
    metadata = {RECORD_KEY: json.dumps(dict(record)).encode()}
    rows, known, total = 0, 0, 0.0
    with folder.atomic(file_name) as file, contextlib.ExitStack() as stack:
        writer = None
        for table, found in values:
            numbers = pa.array(found.astype(np.float32), from_pandas=True)
            whole = table.rows().append_column(column, numbers)
            if writer is None:
                schema = whole.schema.with_metadata(metadata)
                writer = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
            writer.write_table(whole.cast(schema))
            rows += len(found)
            known += int(np.isfinite(found).sum())
            total += float(np.nansum(found))
    return Values(os.fspath(out), name, rows, total / known if known else None)
