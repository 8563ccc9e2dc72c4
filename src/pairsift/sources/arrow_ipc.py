"""Arrow IPC files: what `save_to_disk` of datasets writes, Feather, and streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, ClassVar

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status
from pairsift.printable import first_line
from pairsift.sources.base import printable
from pairsift.sources.files import open_file
from pairsift.sources.record_batches import BATCH_ROWS, ROW_DIGITS, BatchReader, Layout
from pairsift.sources.saved_datasets import EXTENSIONS

# A file with a footer is a stream between this, with two bytes of padding, and the footer.
_FILE_MAGIC = b"ARROW1"
_OLD_MAGIC = b"FEA1"
_HEAD = 8
_AS_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowReader(BatchReader):
    """Reads an Arrow file or stream from its start to its end, one record batch at a time.

    What the columns hold, see :class:`~pairsift.sources.record_batches.BatchReader`. A record batch
    is in memory as a whole: datasets writes 1,000 rows in each, of images 100. If the file is
    damaged or ends early, the rows before that are read, and `problem` says where.
    """

    kind: ClassVar[str] = "arrow"
    extensions: ClassVar[tuple[str, ...]] = EXTENSIONS

    def __iter__(self) -> Iterator[Pair]:
        self._begin()
        row = 0
        damage = None
        with open_file(self.shard.url) as file:
            batches = self._open(file)
            layout = self._layout(batches.schema)
            while True:
                try:
                    batch = batches.read_next_batch()
                    batch.validate()
                except StopIteration:
                    if not _is_whole(file):
                        damage = f"it ends early, after row {row}; later rows are missing"
                    break
                except (pa.ArrowException, OSError, ValueError) as error:
                    if isinstance(error, OSError) and error.errno:
                        raise  # the storage failed, not the data
                    damage = f"it is damaged after row {row}: {first_line(error)[:300]}"
                    break
                yield from self._sound_pairs(layout, batch, row)
                row += batch.num_rows
        told = [damage] if damage else []
        self.problem = "; ".join([*told, *self._lacking()]) or None

    def _sound_pairs(self, layout: Layout, batch: pa.RecordBatch, first: int) -> Iterator[Pair]:
        """Yield the pairs of a batch; a row with damaged offsets is a pair with a fault.

        Arrow trusts the offsets of what it reads, and would read elsewhere in memory.
        """
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            if _damage(part) is None:
                yield from self._pairs(layout, part, first + start)
                continue
            for index in range(part.num_rows):
                row, number = part.slice(index, 1), first + start + index
                if (why := _damage(row)) is None:
                    yield from self._pairs(layout, row, number)
                else:
                    fault = Fault(Status.READ_ERROR, f"row {number} is damaged: {why}")
                    key = f"{number:0{ROW_DIGITS}}"
                    yield Pair(key, None, None, shard=self.shard.name, fault=fault)

    def _open(self, file: IO[bytes]) -> pa.RecordBatchStreamReader:
        head = file.read(_HEAD)
        if head.startswith(_OLD_MAGIC):
            raise PairsiftError(
                f"{self.shard.url} has the first version of the Feather format; write it again "
                "with pyarrow.feather.write_feather, or as parquet"
            )
        file.seek(_HEAD if head.startswith(_FILE_MAGIC) else 0)
        try:
            return pa.ipc.open_stream(pa.PythonFile(file, "r"))
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise PairsiftError(
                f"{self.shard.url} is not a readable Arrow file ({first_line(error)[:300]}); "
                "remove it, or write it again"
            ) from error


def _damage(batch: pa.RecordBatch) -> str | None:
    """Say what is wrong with the offsets of a batch; None if they can be followed."""
    try:
        for column in batch.columns:
            _check(column)
    except (pa.ArrowException, ValueError) as error:
        return printable(first_line(error)[:300])
    return None


def _check(array: pa.Array) -> None:
    """Check the offsets of these rows. Bytes that are not UTF-8 are the row's own affair."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_struct(array.type):
        array.validate()
        for child in array.flatten():  # of these rows only
            _check(child)
        return
    if (kind := _as_bytes(array.type)) != array.type:
        array = array.view(kind)
    array.validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Return the type with bytes in place of text, also inside lists and dictionaries."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)), kind.list_size)
    for is_list, make in _LISTS:
        if is_list(kind):
            return make(kind.value_field.with_type(_as_bytes(kind.value_type)))
    return _AS_BYTES.get(kind, kind)


def _is_whole(file: IO[bytes]) -> bool:
    """Return whether a file has its end: Arrow takes one that was cut between batches for whole."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _HEAD))
    tail = file.read(_HEAD)
    return tail == _END_OF_STREAM or tail.endswith(_FILE_MAGIC)
