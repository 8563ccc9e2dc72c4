"""Where pairs come from: webdataset tars, parquet files, folders of images with captions."""

from __future__ import annotations

from pairsift.errors import PairsiftError
from pairsift.sources.base import Shard, ShardReader, ShardSet
from pairsift.sources.discover import find_shards
from pairsift.sources.registry import readers

__all__ = ["Shard", "ShardReader", "ShardSet", "find_shards", "open_shard"]


def open_shard(shard: Shard) -> ShardReader:
    """The reader of a shard; nothing is opened before it is iterated.

    Raises:
        PairsiftError: no installed package reads shards of this kind any more.
    """
    if shard.kind not in readers():
        raise PairsiftError(
            f"{shard.url} is of kind {shard.kind!r}, which no installed package reads; install "
            "the package that it was scored with"
        )
    return readers()[shard.kind](shard)
