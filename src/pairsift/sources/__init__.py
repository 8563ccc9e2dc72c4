"""Where pairs come from: webdataset tars, parquet files, folders of images with captions."""

from __future__ import annotations

import importlib

from pairsift.sources.base import Shard, ShardReader, ShardSet
from pairsift.sources.discover import KINDS, find_shards

__all__ = ["KINDS", "Shard", "ShardReader", "ShardSet", "find_shards", "open_shard"]

# Imported when first needed: parquet brings pyarrow along.
_READERS = {
    "webdataset": "pairsift.sources.webdataset:WebdatasetReader",
    "parquet": "pairsift.sources.parquet:ParquetReader",
    "folder": "pairsift.sources.folder:FolderReader",
}


def open_shard(shard: Shard) -> ShardReader:
    """The reader of a shard; nothing is opened before it is iterated."""
    module, _, name = _READERS[shard.kind].partition(":")
    reader: ShardReader = getattr(importlib.import_module(module), name)(shard)
    return reader
