"""The images of rows, read from their shards when a page asks for them."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError
from pairsift.report.pictures import small_jpeg
from pairsift.report.sources import SourceShards
from pairsift.report.table import split_position

HELD = 2_000
PIXELS = 768


class PictureReader:
    """JPEGs by position. Rows of a page that are in the same shard are read in one pass over it.

    A shard can only be read from its start, so the next rows are announced with :meth:`expect`. The
    most recent images are kept in memory.
    """

    def __init__(self, shards: SourceShards) -> None:
        self._shards = shards
        self._held: OrderedDict[int, bytes | str] = OrderedDict()
        self._expected: dict[int, set[int]] = defaultdict(set)
        self._guard = threading.Lock()
        self._shard_locks: dict[int, threading.Lock] = defaultdict(threading.Lock)

    def expect(self, positions: Iterable[int]) -> None:
        """Say which rows will be requested."""
        with self._guard:
            for pos in positions:
                if pos not in self._held:
                    table, row = split_position(pos)
                    self._expected[table].add(row)

    def get(self, pos: int) -> bytes | str:
        """Return the image as JPEG, or a sentence on why there is none."""
        table, row = split_position(pos)
        if not 0 <= table < len(self._shards):
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
            problem = self._read(table, sorted(rows), pos - row)
        with self._guard:
            return self._held.get(pos, problem or "there is no such row")

    def _read(self, table: int, rows: list[int], offset: int) -> str | None:
        """Load the images of some rows into memory; return why some could not be read.

        The reason is not kept, so the next request tries the shard again.
        """
        try:
            for row, pair in self._shards.rows(table, rows):
                try:
                    self._hold(offset + row, small_jpeg(pair.image, PIXELS))
                except ImageFaultError as fault:
                    self._hold(offset + row, str(fault))
        except PairsiftError as error:
            return str(error)
        except Exception as error:  # the server continues, and the page shows the reason
            return f"{type(error).__name__}: {error}"
        return None

    def _hold(self, pos: int, picture: bytes | str) -> None:
        with self._guard:
            self._held[pos] = picture
            while len(self._held) > HELD:
                self._held.popitem(last=False)
