"""Sources of pairs: webdataset tars, parquet files, folders of images with captions."""

from __future__ import annotations

from pairsift.errors import PairsiftError
from pairsift.sources.base import Shard, ShardReader, ShardSet
from pairsift.sources.discover import find_shards
from pairsift.sources.files import FileEntry
from pairsift.sources.registry import readers
from pairsift.sources.several import SeveralCaptions, caption_names

__all__ = ["Shard", "ShardReader", "ShardSet", "find_shards", "look_up", "open_shard"]


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
    read = _reader(shard)
    return SeveralCaptions(shard, read) if caption_names(shard.options) else read(shard)


def look_up(shard: Shard) -> FileEntry | None:
    """Look up the size and version that a shard has now.

    Args:
        shard: a shard of :func:`find_shards`, or of a score table.

    Returns:
        its entry; None if it is not there any more, or the storage does not say.

    Raises:
        PairsiftError: the storage fails, or no installed package reads shards of this kind.
    """
    return _reader(shard).look_up(shard)


def _reader(shard: Shard) -> type[ShardReader]:
    if shard.kind not in readers():
        raise PairsiftError(
            f"{shard.url} is of kind {shard.kind!r}, which no installed package can read; "
            "install the package that was used for scoring"
        )
    return readers()[shard.kind]
