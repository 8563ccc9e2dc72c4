"""Recognise what Pairsift itself wrote among the shards of a pool; it is not input unless it is
named.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from pairsift.errors import PairsiftError
from pairsift.sources import files
from pairsift.sources.files import FileEntry

# Files that mark our output folders, and text that must be in them, because others use such names.
MARKERS = {
    "_run.json": b'"fingerprint"',
    "selection.json": b'"fingerprint"',
    "_pairsift.manifest": b"",
    "balance.json": b'"histograms"',
    "pool.json": b'"rates"',
}
_BESIDE = frozenset({"sizes.json"})  # webdataset's own file name
# All our keys in a parquet's metadata begin with this.
METADATA_PREFIX = b"pairsift."
OUTPUT_KEY = METADATA_PREFIX + b"output"
_FOOTER_BYTES = 64 << 10
_NAMED = 3


class OwnOutputs:
    """Leaves our own output out of what is found, and remembers what was left out."""

    def __init__(self) -> None:
        self._left_out: dict[str, None] = {}

    def leave_out(
        self, entries: Iterable[FileEntry], base: str, *, all_below: bool
    ) -> list[FileEntry]:
        """Return the entries that are not our own output.

        Our output folders below `base` are left out with everything in them, and so are our local
        parquet files. `base` itself was named by the user, so it is not checked.

        Args:
            all_below: whether the entries are all files below `base`, so that no folder has to be
                listed.
        """
        entries, base = list(entries), base.rstrip("/")
        ours: dict[str, bool] = defaultdict(bool) if all_below else _Listed()
        for entry in entries if all_below else ():
            folder, _, name = entry.url.rpartition("/")
            if name in MARKERS and _holds(entry.url, MARKERS[name]):
                ours[folder] = True
        kept = []
        for entry in entries:
            folder = entry.url if entry.is_folder else entry.url.rpartition("/")[0]
            owner = _owner(folder, base, ours) or (entry.url if _is_table_of_ours(entry) else None)
            if owner is None:
                kept.append(entry)
            else:
                self._left_out[owner] = None
        return kept

    def notes(self) -> tuple[str, ...]:
        """Return nothing, or one sentence on what was left out."""
        if not self._left_out:
            return ()
        names = list(self._left_out)
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return (
            f"left out what Pairsift wrote there: {', '.join(names[:_NAMED])}{more}; to read one, "
            "name it",
        )

    def refuse_nothing_else(self, pattern: str) -> None:
        """Call this if no entry is left.

        Raises:
            PairsiftError: all entries were our own output.
        """
        if self._left_out:
            raise PairsiftError(f"{pattern} holds no shards: {self.notes()[0]}")


def is_own_file(url: str) -> bool:
    """Return whether a file in a folder that the user named describes an output of ours."""
    name = url.rpartition("/")[2]
    return name in _BESIDE or (name in MARKERS and _holds(url, MARKERS[name]))


def _owner(folder: str, base: str, known: dict[str, bool]) -> str | None:
    """Return the topmost of our output folders below `base` that contains a folder."""
    if len(folder) <= len(base):
        return None
    if (owner := _owner(folder.rpartition("/")[0], base, known)) is not None:
        return owner
    return folder if known[folder] else None


class _Listed(dict[str, bool]):
    """Tells whether a folder is our output, by listing it when first asked."""

    def __missing__(self, folder: str) -> bool:
        self[folder] = any(
            name in MARKERS and _holds(entry.url, MARKERS[name])
            for entry in files.list_folder(folder)
            if not entry.is_folder and (name := entry.url.rpartition("/")[2])
        )
        return self[folder]


def _holds(url: str, text: bytes) -> bool:
    if not text:
        return True
    try:
        with files.open_file(url) as file:
            return text in file.read()
    except (OSError, PairsiftError):
        return False


def _is_table_of_ours(entry: FileEntry) -> bool:
    """Return whether a local parquet's metadata, at the end of the file, has a key of ours."""
    if entry.is_folder or files.is_url(entry.url) or not entry.url.lower().endswith(".parquet"):
        return False
    try:
        with files.open_file(entry.url) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _FOOTER_BYTES))
            if METADATA_PREFIX not in file.read():
                return False
        import pyarrow.parquet as pq  # the match before may have been inside a caption

        return any(key.startswith(METADATA_PREFIX) for key in pq.read_metadata(entry.url).metadata)
    except (PairsiftError, OSError, ValueError, TypeError):  # TypeError: the file has no metadata
        return False
