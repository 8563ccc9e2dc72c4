"""Find all pairs of 64-bit hashes that differ in at most d bits, without comparing all pairs.

A multi-index (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing",
CVPR 2012; with several blocks at a time as Manku, Jain and Das Sarma, WWW 2007): the bits are
divided into d + m blocks. Two hashes that differ in at most d bits agree in at least m blocks, so
each such pair is found by the join on some m blocks. Only one of these joins returns it: the one on
the first m blocks in which the two agree. Every candidate is verified by counting bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from pairsift.hashing import BITS

MAX_DISTANCE = 12
_MOST_AGREEING = 5
# A candidate costs several times less than a row of a join.
_CANDIDATE_COST = 0.3


@dataclass(frozen=True, slots=True)
class Index:
    """How the bits are divided, and how many blocks each join uses.

    Attributes:
        blocks: a mask of bits per block; together they cover all 64.
        agreeing: number of blocks per join, m.
    """

    distance: int
    blocks: tuple[int, ...]
    agreeing: int

    @classmethod
    def plan(cls, left: int, right: int, distance: int) -> Index:
        """Return the index with the least work for these numbers of hashes.

        Args:
            left, right: number of hashes.
            distance: bits, 0 to `MAX_DISTANCE`.
        """

        def work(agreeing: int) -> float:
            joins = math.comb(distance + agreeing, agreeing)
            bits = BITS * agreeing / (distance + agreeing)
            return joins * (left + right + _CANDIDATE_COST * left * right / 2**bits)

        agreeing = min(range(1, _MOST_AGREEING + 1), key=work)
        count = distance + agreeing
        edges = [BITS * place // count for place in range(count + 1)]
        blocks = tuple(((1 << high) - 1) ^ ((1 << low) - 1) for low, high in pairwise(edges))
        return cls(distance, blocks, agreeing)

    def joins(self, left: str, right: str, self_join: bool) -> Iterator[str]:
        """Yield SQL of each join: the pairs that it returns, as columns ``a`` and ``b``.

        Args:
            left, right: relations with a column ``h`` UBIGINT of distinct hashes.
            self_join: whether both are the same; then each pair is returned once, with a > b.
        """
        order = " AND l.h > r.h" if self_join else ""
        for chosen in combinations(range(len(self.blocks)), self.agreeing):
            mask = sum(self.blocks[place] for place in chosen)
            skipped = [p for p in range(chosen[-1]) if p not in chosen]
            first = "".join(
                f" AND (xor(l.h, r.h) & {self.blocks[p]}::UBIGINT) <> 0" for p in skipped
            )
            yield (
                f"SELECT l.h AS a, r.h AS b FROM {left} AS l JOIN {right} AS r "
                f"ON (l.h & {mask}::UBIGINT) = (r.h & {mask}::UBIGINT) "
                f"WHERE bit_count(xor(l.h, r.h)) <= {self.distance}{order}{first}"
            )
