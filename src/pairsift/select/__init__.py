"""Choose the rows of score tables worth keeping, out of core.

``select`` makes a selection, ``read_selection`` opens one that was made before, and the writers
turn it into data. A selection is a folder with ``kept.parquet`` (columns ``folder``, ``shard``,
``row``: places in the score tables, which are the samples' places in the source shards) and
``selection.json``, a readable copy of the record that ``kept.parquet`` carries in its metadata.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairsift.select.join import Join, parse_join
    from pairsift.select.query import select
    from pairsift.select.record import Cut, Drop, KeptShard, Record, Selection, read_selection
    from pairsift.select.split import Bucket, split_selection

__all__ = [
    "Bucket", "Cut", "Drop", "Join", "KeptShard", "Record", "Selection", "parse_join",
    "read_selection", "select", "split_selection",
]  # fmt: skip

# Imported when asked for: a process that only copies samples needs no query engine.
_HOMES = {
    "Bucket": "pairsift.select.split",
    "Cut": "pairsift.select.record",
    "Drop": "pairsift.select.record",
    "Join": "pairsift.select.join",
    "KeptShard": "pairsift.select.record",
    "Record": "pairsift.select.record",
    "Selection": "pairsift.select.record",
    "parse_join": "pairsift.select.join",
    "read_selection": "pairsift.select.record",
    "select": "pairsift.select.query",
    "split_selection": "pairsift.select.split",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
