"""Sources of pairs: webdataset tars, parquet files, folders of images with captions."""

from __future__ import annotations

from pairsift.errors import PairsiftError
from pairsift.sources.base import Shard, ShardReader, ShardSet
from pairsift.sources.discover import find_shards
from pairsift.sources.registry import readers
from pairsift.sources.several import SeveralCaptions, caption_names

__all__ = ["Shard", "ShardReader", "ShardSet", "find_shards", "open_shard"]


def open_shard(shard: Shard) -> ShardReader:
    """Make the reader of a shard: iterate over it for the shard's pairs, in their stored order.

    Nothing is opened before the first pair is requested. A sample that cannot be read is a pair
    with a `fault`.

    Args:
        shard: a shard of :func:`find_shards`.

    Returns:
        the reader.

    Raises:
        PairsiftError: no installed package reads shards of this kind; while iterating, the shard
            cannot be opened.

    Examples:
        >>> from pairsift.sources import find_shards
        >>> shard = find_shards("pool").shards[0]
        >>> [(pair.key, pair.caption) for pair in open_shard(shard)][:2]
        [('a', 'a red square on a white wall'), ('b', 'a small red square')]
    """
    if shard.kind not in readers():
        raise PairsiftError(
            f"{shard.url} is of kind {shard.kind!r}, which no installed package can read; "
            "install the package that was used for scoring"
        )
    read = readers()[shard.kind]
    return SeveralCaptions(shard, read) if caption_names(shard.options) else read(shard)
