"""Compare ways to do the same work by rounds in turn, so that other load on the machine hits all.

Other benchmarks here use it.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

OURS = "pairsift"


@dataclass
class Rounds:
    """Seconds of every way in every round, and what each returned last."""

    items: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def ratio(self, way: str) -> float:
        """Return how many times as fast ours is, median of the rounds."""
        pairs = zip(self.seconds[way], self.seconds[OURS], strict=True)
        return median(theirs / ours for theirs, ours in pairs)

    def lines(self) -> list[str]:
        """Return a line for each way."""
        lines = []
        for way, seconds in self.seconds.items():
            rate = self.items / median(seconds)
            ratio = "" if way == OURS else f"; pairsift is {self.ratio(way):.2f} times as fast"
            lines.append(f"{way:40} {rate:8.1f} a second{ratio}")
        return lines


def run_rounds(ways: Mapping[str, Callable[[], Any]], rounds: int, items: int) -> Rounds:
    """Run each way once to warm up and then once a round; each is first in turn."""
    done = Rounds(items, {way: [] for way in ways})
    names = list(ways)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.perf_counter()
            done.found[name] = ways[name]()
            if turn:
                done.seconds[name].append(time.perf_counter() - begin)
    return done


def versions(*packages: str) -> str:
    """Return the installed versions of packages."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
