"""Parquet read on the calling thread alone.

Arrow's own threads may still hold Python's buffers and files when a read has returned. One that
lets go of them while the interpreter ends aborts the process. So whatever is no plain local path
is read without these threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

Source = bytes | IO[bytes]


def read_parquet(source: Source, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file that is held in memory or open.

    Args:
        columns: which; None for all.

    Raises:
        pyarrow.ArrowInvalid: it is not parquet, or is damaged.
    """
    return _open(source).read(None if columns is None else list(columns), use_threads=False)


def read_batches(source: Source, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """As :func:`read_parquet`, in batches of constant memory."""
    names = None if columns is None else list(columns)
    file = _open(source)
    if file.num_row_groups:  # pyarrow 18 fails on a file without rows
        yield from file.iter_batches(columns=names, use_threads=False)


def is_damage(error: Exception) -> bool:
    """Whether an error of a read says that the content is broken, and not that storage failed."""
    # Arrow and the thrift of its footers raise OSError too, without the number of a system's error.
    return isinstance(error, (ValueError, pa.ArrowException)) or (
        type(error) is OSError and error.errno is None
    )


def _open(source: Source) -> pq.ParquetFile:
    file = pa.BufferReader(source) if isinstance(source, bytes) else source
    return pq.ParquetFile(file, pre_buffer=False)
