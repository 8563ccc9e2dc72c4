"""Find copies in score tables by their hashes, and images of evaluation sets in a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairsift.lazy import importer

if TYPE_CHECKING:
    from pairsift.dedup.lists import HashList, write_hash_list
    from pairsift.dedup.run import DedupSummary, check_dedup, dedup

__all__ = ["DedupSummary", "HashList", "check_dedup", "dedup", "write_hash_list"]

__getattr__ = importer(
    __name__,
    {
        "lists": ("HashList", "write_hash_list"),
        "run": ("DedupSummary", "check_dedup", "dedup"),
    },
)
