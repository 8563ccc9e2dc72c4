"""Split a selection into several by the values of a column: the buckets of soft filtering."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.select.record import (
    KEPT_SCHEMA,
    ROWS,
    KeptShard,
    Selection,
    add_record,
    rows_writer,
    write_copy,
)
from pairsift.storage import Folder, join


@dataclass(frozen=True, slots=True)
class Bucket:
    """The kept rows with `low` <= value < `high`.

    Attributes:
        low, high: minus and plus infinity at the ends.
        selection: these rows, as a separate selection.
    """

    low: float
    high: float
    selection: Selection


def split_selection(
    selection: Selection, column: str, edges: Sequence[float], out: str | os.PathLike[str]
) -> list[Bucket]:
    """Split the kept rows at `edges`; every row goes into exactly one bucket.

    Args:
        column: a score column of the tables, compared in its own type, as in ``--where``.
        edges: ascending; n of them make n + 1 buckets.
        out: folder for the selections, ``00``, ``01`` and so on.

    Raises:
        PairsiftError: the edges do not ascend, the column does not exist or is not a number, or a
            kept row has no value in it.
    """
    bounds = _bounds(edges)
    folders = [Folder(join(Folder(out).url, f"{place:02d}")) for place in range(len(edges) + 1)]
    kept = [0] * len(folders)
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []
        for folder in folders:
            folder.create()
            folder.remove_leftovers()
            file = stack.enter_context(folder.atomic(ROWS))
            writers.append(stack.enter_context(rows_writer(file)))
        numbers = {path: place for place, path in enumerate(selection.scores)}
        for shard in selection.shards():
            place = _buckets(shard, column, edges)
            for bucket, writer in enumerate(writers):
                rows = shard.rows[place == bucket]
                if len(rows):
                    writer.write_batch(_batch(numbers[shard.scores], shard.shard, rows))
                    kept[bucket] += len(rows)
        parts = []
        for bucket, writer in enumerate(writers):
            split = {"column": column, "edges": list(edges), "bucket": bucket}
            record = replace(
                selection.record,
                query=selection.record.query | {"split": split},
                kept=kept[bucket],
                digest=hashlib.blake2b(
                    f"{selection.record.digest}{split}".encode(), digest_size=16
                ).hexdigest(),
            )
            part = Selection(record, folders[bucket].url, selection.tables)
            add_record(writer, part)
            parts.append(part)
    for folder, part in zip(folders, parts, strict=True):
        write_copy(folder, part.record)
    return [Bucket(bounds[place], bounds[place + 1], part) for place, part in enumerate(parts)]


def check_split(selection: Selection, column: str, edges: Sequence[float]) -> None:
    """Check that :func:`split_selection` can split these rows; nothing is written.

    Raises:
        PairsiftError: as :func:`split_selection` raises it.
    """
    _bounds(edges)
    for shard in selection.shards():
        _buckets(shard, column, edges)


def _bounds(edges: Sequence[float]) -> list[float]:
    bounds = [-math.inf, *edges, math.inf]
    if not edges or any(not low < high for low, high in pairwise(bounds)):
        raise PairsiftError(
            f"the edges {', '.join(f'{edge:g}' for edge in edges)} must be in ascending order; "
            "for example 50,66,80"
        )
    return bounds


def _buckets(shard: KeptShard, column: str, edges: Sequence[float]) -> np.ndarray:
    names = [str(name) for name in shard.schema().names]
    if column not in names:
        raise PairsiftError(
            f"the scores have no column {column!r} for the buckets; their columns are "
            f"{', '.join(names)}"
        )
    values = shard.table([column]).column(column)
    kind = values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise PairsiftError(f"the column {column!r} for the buckets does not hold numbers")
    numbers = values.to_numpy()
    if values.null_count or (pa.types.is_floating(kind) and bool(np.isnan(numbers).any())):
        raise PairsiftError(
            f"kept rows of {shard.shard} have no {column}; select with --where "
            f'"{column} is not null" first'
        )
    # In the column's own type, so that an edge of 0.35 includes the float32 that prints as 0.35.
    typed = np.asarray(edges, dtype=numbers.dtype if pa.types.is_floating(kind) else np.float64)
    found: np.ndarray = np.searchsorted(typed, numbers, side="right")
    return found


def _batch(folder: int, shard: str, rows: np.ndarray) -> pa.RecordBatch:
    return pa.record_batch(
        [
            pa.array(np.full(len(rows), folder, dtype=np.int16)),
            pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(rows), dtype=np.int32)), pa.array([shard])
            ),
            pa.array(rows, pa.int32()),
        ],
        schema=KEPT_SCHEMA,
    )
