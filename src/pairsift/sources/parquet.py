"""Parquet files that carry images: img2dataset's and Hugging Face's layouts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.printable import first_line
from pairsift.sources.arrow_values import plain
from pairsift.sources.files import open_file
from pairsift.sources.record_batches import BATCH_ROWS, BatchReader, Layout


class ParquetReader(BatchReader):
    """Reads a parquet file in small batches, so that memory depends on neither file nor row group.

    What the columns hold, see :class:`~pairsift.sources.record_batches.BatchReader`. Every row of
    the file is a pair. Rows of unreadable row groups are ``read_error``, with their key or, if that
    cannot be read either, the row's number; `problem` reports them too.
    """

    kind: ClassVar[str] = "parquet"
    extensions: ClassVar[tuple[str, ...]] = (".parquet",)

    def __iter__(self) -> Iterator[Pair]:
        self._begin()
        with open_file(self.shard.url) as file:
            table = self._open(file)
            layout = self._layout(table.schema_arrow)
            first_row = 0
            broken: list[str] = []
            for group in range(table.num_row_groups):
                row = first_row
                why = "it ends early"
                try:
                    for batch in table.iter_batches(
                        BATCH_ROWS, row_groups=[group], use_threads=False
                    ):
                        yield from self._pairs(layout, batch, row)
                        row += batch.num_rows
                except (pa.ArrowException, OSError, ValueError) as error:
                    if isinstance(error, OSError) and error.errno:
                        raise  # the storage failed, not the data
                    why = first_line(error)[:300]
                begin, first_row = first_row, first_row + table.metadata.row_group(group).num_rows
                if row < first_row:
                    broken.append(f"row group {group} from row {row} on: {why}")
                    yield from self._unreadable(table, layout, group, begin, row, why)
        told = [f"{len(broken)} unreadable row groups; {broken[0]}"] if broken else []
        self.problem = "; ".join([*told, *self._lacking()]) or None

    def _open(self, file: Any) -> pq.ParquetFile:
        try:
            # Without pre-buffering, so that a column chunk of images is never in memory as a whole.
            return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise PairsiftError(
                f"{self.shard.url} is not a readable parquet file ({first_line(error)[:300]}); "
                "remove it, or download it again"
            ) from error

    def _unreadable(
        self, table: pq.ParquetFile, layout: Layout, group: int, begin: int, row: int, why: str
    ) -> Iterator[Pair]:
        """Yield the rows of the row group that begins at `begin`, from an unreadable one on."""
        # Each column separately, because mostly only the images are damaged.
        keys, uids = (
            itertools.islice(
                itertools.chain(_values(table, group, name), itertools.repeat(None)),
                row - begin,
                table.metadata.row_group(group).num_rows,
            )
            for name in (next(iter(layout.keys), None), layout.uid)
        )
        told = f"in row group {group}: {why}"
        yield from self._unread(zip(itertools.count(row), keys, uids, strict=False), told)


def _values(table: pq.ParquetFile, group: int, name: str | None) -> Iterator[Any]:
    """Return a column of a row group, as far as it can be read."""
    if name is None:
        return
    try:
        for batch in table.iter_batches(row_groups=[group], columns=[name], use_threads=False):
            for value in batch.column(0):
                yield plain(value)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
