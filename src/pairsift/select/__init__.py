"""Select rows of score tables that are larger than memory.

``select`` makes a selection, ``read_selection`` opens an existing one, and the writers turn it into
data. A selection is a folder with ``kept.parquet`` (columns ``folder``, ``shard``, ``row``:
positions in the score tables, which are also the samples' positions in the source shards) and
``selection.json``, a readable copy of the record in ``kept.parquet``'s metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairsift.lazy import importer

if TYPE_CHECKING:
    from pairsift.select.join import Join, parse_join
    from pairsift.select.query import check_select, select
    from pairsift.select.record import Cut, Drop, KeptShard, Record, Selection, read_selection
    from pairsift.select.split import Bucket, split_selection

__all__ = [
    "Bucket", "Cut", "Drop", "Join", "KeptShard", "Record", "Selection", "check_select",
    "parse_join", "read_selection", "select", "split_selection",
]  # fmt: skip

# Imported lazily, because a process that only copies samples needs no query engine.
__getattr__ = importer(
    __name__,
    {
        "split": ("Bucket", "split_selection"),
        "record": ("Cut", "Drop", "KeptShard", "Record", "Selection", "read_selection"),
        "join": ("Join", "parse_join"),
        "query": ("check_select", "select"),
    },
)
