"""Read parquet on the calling thread only; turn numpy's arrays and text into Arrow's at once.

Arrow's own threads may still hold Python buffers and files after a read has returned. If they
release them while the interpreter ends, the process aborts. So anything that is not a plain local
path is read without these threads.

``pa.array``, ``pa.scalar`` and ``to_numpy`` import pandas where it is installed, which takes longer
than many a query. `arrow_array`, `text_array` and ``np.from_dlpack`` do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Source = bytes | IO[bytes]


def read_parquet(source: Source, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file that is in memory or open.

    Args:
        columns: the columns to read; None for all.

    Raises:
        pyarrow.ArrowInvalid: it is not parquet, or is damaged.
    """
    return _open(source).read(None if columns is None else list(columns), use_threads=False)


def read_batches(source: Source, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read like :func:`read_parquet`, in batches of bounded memory."""
    names = None if columns is None else list(columns)
    file = _open(source)
    if file.num_row_groups:  # pyarrow 18 raises an error for a file without rows
        yield from file.iter_batches(columns=names, use_threads=False)


def arrow_array(numbers: np.ndarray) -> pa.Array:
    """Numbers of numpy as an Arrow array of the same type, without a copy."""
    buffer = pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, buffer])


def text_array(words: Iterable[str]) -> pa.Array:
    """Text as an Arrow array of strings."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))
    )


def is_damage(error: Exception) -> bool:
    """Return whether an error means that the content is damaged, not that the storage failed."""
    # Arrow also raises OSError for damage, but without a system error number.
    return isinstance(error, (ValueError, pa.ArrowException)) or (
        type(error) is OSError and error.errno is None
    )


def _open(source: Source) -> pq.ParquetFile:
    file = pa.BufferReader(source) if isinstance(source, bytes) else source
    return pq.ParquetFile(file, pre_buffer=False)
