"""Pictures of rows, read from their shards when a page asks for them."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError
from pairsift.report.pictures import small_jpeg, source_shard
from pairsift.report.table import split_position
from pairsift.select.tables import ScoreTables
from pairsift.sources import open_shard

HELD = 2_000
PIXELS = 768


class PictureReader:
    """JPEGs by place. All rows of a page that lie in one shard are read in one go through it.

    A shard can only be read from its start, so what is asked for next is told beforehand with
    :meth:`expect`; the most recent pictures are held.
    """

    def __init__(self, tables: ScoreTables, facts: Sequence[Mapping[str, Any]]) -> None:
        self._tables = tables
        self._facts = facts
        self._held: OrderedDict[int, bytes | str] = OrderedDict()
        self._expected: dict[int, set[int]] = defaultdict(set)
        self._guard = threading.Lock()
        self._shard_locks: dict[int, threading.Lock] = defaultdict(threading.Lock)

    def expect(self, positions: Iterable[int]) -> None:
        """Say which rows will be asked for."""
        with self._guard:
            for pos in positions:
                if pos not in self._held:
                    table, row = split_position(pos)
                    self._expected[table].add(row)

    def get(self, pos: int) -> bytes | str:
        """The picture as JPEG, or in words why there is none."""
        table, row = split_position(pos)
        if not 0 <= table < len(self._tables.tables):
            return "no such row"
        self.expect([pos])
        with self._guard:
            lock = self._shard_locks[table]
        with lock:
            with self._guard:
                if pos in self._held:
                    self._held.move_to_end(pos)
                    return self._held[pos]
                rows = self._expected.pop(table, set()) | {row}
            offset = pos - row
            self._read(table, rows, offset)
        with self._guard:
            return self._held.get(pos, "the source shard ends before this sample")

    def _read(self, table: int, rows: set[int], offset: int) -> None:
        shard = self._tables.tables[table].shard
        last = max(rows)
        try:
            for row, pair in enumerate(open_shard(source_shard(shard, self._facts[table]))):
                if row in rows:
                    try:
                        self._hold(offset + row, small_jpeg(pair.image, PIXELS))
                    except ImageFaultError as fault:
                        self._hold(offset + row, str(fault))
                    rows.discard(row)
                if row >= last:
                    break
        except PairsiftError as error:
            for row in rows:
                self._hold(offset + row, str(error))
        except Exception as error:  # the server goes on; the card says what happened
            for row in rows:
                self._hold(offset + row, f"{type(error).__name__}: {error}")

    def _hold(self, pos: int, picture: bytes | str) -> None:
        with self._guard:
            self._held[pos] = picture
            while len(self._held) > HELD:
                self._held.popitem(last=False)
