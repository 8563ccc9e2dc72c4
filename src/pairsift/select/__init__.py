"""Choose the rows of score tables worth keeping, out of core.

``select`` makes a selection, ``read_selection`` opens one that was made before, and the writers
turn it into data. A selection is a folder with ``kept.parquet`` (columns ``folder``, ``shard``,
``row``: places in the score tables, which are the samples' places in the source shards) and
``selection.json``, a readable copy of the record that ``kept.parquet`` carries in its metadata.
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

# A process that only copies samples needs no query engine.
__getattr__ = importer(
    __name__,
    {
        "split": ("Bucket", "split_selection"),
        "record": ("Cut", "Drop", "KeptShard", "Record", "Selection", "read_selection"),
        "join": ("Join", "parse_join"),
        "query": ("check_select", "select"),
    },
)
