"""Count the files in a pool that are not read, and report them once."""

from __future__ import annotations

from collections import Counter
from typing import Final

LINKED_FOLDERS: Final = "links to folders"
HIDDEN: Final = "hidden names"
CACHES: Final = "caches of datasets"
LANCES: Final = "Lance datasets"
SPECIAL: Final = "pipes, devices and sockets"
_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".lz4", ".z", ".lzma"})
_MOST_KINDS = 8


class LeftOut:
    """Counts files by suffix, and other entries by what they are."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._seen: set[str] = set()

    def add(self, url: str, what: str | None = None) -> None:
        """Count a file, or an entry that `what` names in the plural, once each."""
        if url in self._seen:  # a pattern such as DIR/** leads to it several times
            return
        self._seen.add(url)
        name = url.rsplit("/", 1)[-1]
        stem, dot, suffix = name.rpartition(".")
        kind = what or (f".{suffix.lower()}" if dot and stem else "without a suffix")
        self._counts[kind] += 1
        self._first.setdefault(kind, url)

    def notes(self) -> tuple[str, ...]:
        """Return nothing, or one sentence on what was left out."""
        if not self._counts:
            return ()
        common = self._counts.most_common()
        told = [f"{count:,} {kind} ({self._first[kind]})" for kind, count in common[:_MOST_KINDS]]
        if len(common) > _MOST_KINDS:
            told.append(f"{sum(count for _, count in common[_MOST_KINDS:]):,} others")
        hints = []
        if _ARCHIVES & self._counts.keys():
            hints.append("unpack archives that are not tars")
        if LINKED_FOLDERS in self._counts:
            hints.append("linked folders are read where they are named themselves")
        advice = f"; {', '.join(hints)}" if hints else ""
        return (f"not read, with the first of each: {', '.join(told)}{advice}",)
