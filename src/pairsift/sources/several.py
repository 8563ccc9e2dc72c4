"""Several captions of each sample, each a pair of its own: alt text beside recaptions.

The option ``caption`` names them, joined by commas. Each sample yields a pair for each name, in
their order; so row r of the score table is of sample ``r // n``. The shard is read once for each
name, in step, and no format needs to know of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from pairsift.pair import Pair
from pairsift.sources.base import Shard, ShardReader

OPTION = "caption"


def caption_names(options: Iterable[tuple[str, Any]]) -> list[str]:
    """Names of the captions, if the options of a source name several; else none."""
    names = [name.strip() for name in str(dict(options).get(OPTION) or "").split(",")]
    return names if len(names) > 1 else []


class SeveralCaptions(ShardReader):
    """Reads a shard with several captions of each sample.

    Args:
        shard: its option ``caption`` names them.
        open_one: makes a reader of a shard with one caption.
    """

    def __init__(self, shard: Shard, open_one: Callable[[Shard], ShardReader]) -> None:
        super().__init__(shard)
        others = tuple((name, value) for name, value in shard.options if name != OPTION)
        self._readers = [
            open_one(replace(shard, options=(*others, (OPTION, name))))
            for name in caption_names(shard.options)
        ]
        self._last = self._readers[0]

    def __iter__(self) -> Iterator[Pair]:
        for pairs in zip(*self._readers, strict=True):
            for index, pair in enumerate(pairs):
                self._last = self._readers[index]
                yield replace(pair, caption_index=index)
        first = self._readers[0]
        self.problem = next((reader.problem for reader in self._readers if reader.problem), None)
        self.notes = first.notes
        if first.byte_ranges is not None:
            self.byte_ranges = array(first.byte_ranges.typecode)
            for at in range(0, len(first.byte_ranges), 2):
                self.byte_ranges.extend(first.byte_ranges[at : at + 2] * len(self._readers))

    def check(self, pair: Pair) -> int:
        return self._last.check(pair)
