"""Count, over a scan of the pool, what each condition of a query removes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BITS = 8


class Reasons:
    """Counts of the rows that meet each condition, from codes that SQL computes.

    A code has a bit for each of eight conditions, so that one column of bytes tells all of them.

    Args:
        conditions: SQL conditions; the first is whether a row is ok.

    Attributes:
        rows: number of counted rows.
        passed: for each condition, the rows that meet it and all before it.
        alone: for each condition, the ok rows that do not meet it.
    """

    def __init__(self, conditions: Sequence[str]) -> None:
        self.rows = 0
        self.passed = [0] * len(conditions)
        self.alone = [0] * len(conditions)
        self._conditions = conditions

    @property
    def columns(self) -> int:
        """Number of columns of codes."""
        return -(-len(self._conditions) // _BITS)

    @property
    def sql(self) -> str:
        """SQL of the columns of codes."""
        bits = [
            f"CASE WHEN {sql} THEN {1 << place % _BITS}::UTINYINT ELSE 0::UTINYINT END"
            for place, sql in enumerate(self._conditions)
        ]
        return ", ".join(
            " | ".join(bits[start : start + _BITS]) for start in range(0, len(bits), _BITS)
        )

    def add(self, codes: Sequence[np.ndarray], sizes: np.ndarray | None = None) -> np.ndarray:
        """Count rows.

        Args:
            codes: the columns of `sql`.
            sizes: how many rows there are of each combination of codes; None for one.

        Returns:
            which of them meet all conditions.
        """

        def count(held: np.ndarray) -> int:
            return int(np.count_nonzero(held) if sizes is None else sizes[held].sum())

        ok: np.ndarray = (codes[0] & 1) != 0
        passing = ok
        self.rows += len(ok) if sizes is None else int(sizes.sum())
        self.passed[0] += count(ok)
        for place in range(1, len(self._conditions)):
            held = (codes[place // _BITS] & (1 << place % _BITS)) != 0
            self.alone[place] += count(ok) - count(ok & held)
            passing = passing & held
            self.passed[place] += count(passing)
        return passing
