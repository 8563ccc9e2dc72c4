"""Fragments of Lance datasets, as streams of pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from pairsift.pair import Pair
from pairsift.sources import files
from pairsift.sources.arrow_values import plain
from pairsift.sources.base import Shard
from pairsift.sources.files import FileEntry
from pairsift.sources.lance_datasets import KIND, fragment_version, open_fragment, reason, telling
from pairsift.sources.record_batches import BATCH_ROWS, BatchReader, Layout

# Lance reads this many bytes ahead, plus whole pages of 8 MiB; by default 2 GiB.
_AHEAD_BYTES = 32 << 20
_ERRORS = (pa.ArrowException, OSError, ValueError, RuntimeError)


class LanceReader(BatchReader):
    """Reads a fragment of a Lance dataset, as it is in the dataset's latest version.

    What the columns hold, see :class:`~pairsift.sources.record_batches.BatchReader`; blobs are
    bytes. Without a column of keys, the key is the row's number in the fragment, deleted rows not
    counted. Rows that cannot be read are ``read_error``, and `problem` says from where on.

    The format: https://lance.org/format/
    """

    kind: ClassVar[str] = KIND
    extensions: ClassVar[tuple[str, ...]] = (".lance",)

    @classmethod
    def look_up(cls, shard: Shard) -> FileEntry | None:
        if not files.list_folder(f"{shard.url}/_versions"):
            return None
        return FileEntry(shard.url, None, version=fragment_version(open_fragment(shard)))

    def __iter__(self) -> Iterator[Pair]:
        self._begin()
        fragment = open_fragment(self.shard)
        with telling(self.shard.url):
            batches, layout = self._open(fragment)
        row = 0
        damage = None
        while True:
            try:
                batch = batches.read_next_batch()
            except StopIteration:
                break
            except _ERRORS as error:
                damage = self._damage(error)
                break
            yield from self._pairs(layout, batch, row)
            row += batch.num_rows
        if damage is not None:
            yield from self._unreadable(fragment, layout, row, damage)
            damage = f"fragment {fragment.fragment_id} is damaged from row {row} on: {damage}"
        self.problem = "; ".join([*([damage] if damage else []), *self._lacking()]) or None

    def _open(self, fragment: Any) -> tuple[pa.RecordBatchReader, Layout]:
        """Begin to read the columns; of blobs, only those that are image or caption."""
        whole = fragment.scanner(blob_handling="all_binary").projected_schema
        layout = self._layout(whole)
        needed = {whole.names[layout.image.column], whole.names[layout.caption.column]}
        described = fragment.scanner(blob_handling="all_descriptions").projected_schema
        columns = [
            name
            for name in whole.names
            if name in needed or whole.field(name).type == described.field(name).type
        ]
        batches = _read(fragment, columns)
        return batches, self._layout(batches.schema)

    def _damage(self, error: Exception) -> str:
        """Say what is wrong with the data.

        Raises:
            OSError: it may be the storage instead: Lance does not tell them apart.
        """
        if files.is_url(self.shard.url):
            raise OSError(reason(error)) from error
        return reason(error)

    def _unreadable(self, fragment: Any, layout: Layout, row: int, why: str) -> Iterator[Pair]:
        # Each column separately, because mostly only the images are damaged.
        keys, uids = (
            itertools.chain(_values(fragment, name, row), itertools.repeat(None))
            for name in (next(iter(layout.keys), None), layout.uid)
        )
        numbers = range(row, fragment.count_rows())
        yield from self._unread(zip(numbers, keys, uids, strict=False), why)


def _read(fragment: Any, columns: list[str], begin: int = 0) -> pa.RecordBatchReader:
    return fragment.scanner(
        columns=columns,
        offset=begin or None,
        blob_handling="all_binary",
        batch_size=BATCH_ROWS,
        batch_readahead=1,
        io_buffer_size=_AHEAD_BYTES,
    ).to_reader()


def _values(fragment: Any, name: str | None, begin: int) -> Iterator[Any]:
    """Return a column from a row on, as far as it can be read."""
    if name is None:
        return
    try:
        for batch in _read(fragment, [name], begin):
            for value in batch.column(0):
                yield plain(value)
    except _ERRORS:
        return
