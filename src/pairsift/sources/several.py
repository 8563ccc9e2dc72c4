"""Several captions of each sample, each a pair of its own: alt text beside recaptions.

The option ``caption`` names them, joined by commas; a list is all its texts (``captions.*``, or
``captions`` beside others). Each sample yields a pair for each text, in this order, and at least
one for each name. The shard is read once for each name, in step; a source need only know of lists.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status
from pairsift.sources.base import LISTS, Shard, ShardReader
from pairsift.sources.fields import takes_every

OPTION = "caption"
MOST = 1000
"""captions of a sample; one with more is a single pair that has a fault"""


def caption_names(options: Iterable[tuple[str, Any]]) -> list[str]:
    """Names of the captions, if the options of a source may name several; else none.

    Raises:
        PairsiftError: a name between two commas is missing, or stands there twice.
    """
    given = str(dict(options).get(OPTION) or "")
    names = [name.strip() for name in given.split(",")]
    if len(names) > 1 and not all(names):
        raise PairsiftError(
            f"--caption-field {given!r}: a name is missing before or after a comma; write for "
            "example txt,json.caption"
        )
    if repeated := [name for name in names if names.count(name) > 1]:
        raise PairsiftError(
            f"--caption-field {given!r}: {repeated[0]} stands there twice; give each caption once"
        )
    return names if len(names) > 1 or takes_every(given) else []


class SeveralCaptions(ShardReader):
    """Reads a shard with several captions of each sample.

    Args:
        shard: its option ``caption`` names them.
        open_one: makes a reader of a shard for one of the names.
    """

    def __init__(self, shard: Shard, open_one: Callable[[Shard], ShardReader]) -> None:
        super().__init__(shard)
        others = tuple((name, value) for name, value in shard.options if name != OPTION)
        self._readers = [
            open_one(replace(shard, options=(*others, (OPTION, name), (LISTS, True))))
            for name in caption_names(shard.options)
        ]
        self._last = self._readers[0]

    def __iter__(self) -> Iterator[Pair]:
        first = self._readers[0]
        counts = array("i")
        for pairs in zip(*self._readers, strict=True):
            rows = [
                (reader, row)
                for reader, pair in zip(self._readers, pairs, strict=True)
                for row in each_caption(pair)
            ]
            if len(rows) > MOST:
                rows = [(first, _too_many(pairs[0], len(rows)))]
            counts.append(len(rows))
            for index, (reader, row) in enumerate(rows):
                self._last = reader
                yield replace(row, caption_index=index)
        self.problem = next((reader.problem for reader in self._readers if reader.problem), None)
        self.notes = first.notes
        if first.byte_ranges is not None:
            self.byte_ranges = array(first.byte_ranges.typecode)
            for place, count in enumerate(counts):
                self.byte_ranges.extend(first.byte_ranges[2 * place : 2 * place + 2] * count)

    def check(self, pair: Pair) -> int:
        return self._last.check(pair)


def each_caption(pair: Pair) -> Iterator[Pair]:
    """Yield a pair for each of a pair's captions, or the pair itself if it has no list."""
    if pair.captions is None:
        yield pair
        return
    for caption in pair.captions:
        fault = caption if isinstance(caption, Fault) else None
        yield replace(
            pair,
            captions=None,
            caption=None if isinstance(caption, Fault) else caption,
            fault=pair.fault or fault,
        )


def _too_many(pair: Pair, count: int) -> Pair:
    why = f"the sample has {count:,} captions; the limit is {MOST:,}"
    fault = pair.fault or Fault(Status.CAPTION_TOO_LARGE, why)
    return replace(pair, caption=None, captions=None, fault=fault)
