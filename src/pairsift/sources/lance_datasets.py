"""Lance datasets: their folders, and their fragments, each of which is a shard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.printable import first_line
from pairsift.sources.base import Shard
from pairsift.sources.files import FileEntry

KIND = "lance"
FRAGMENT = "fragment"
"""Option of a shard: which fragment of its dataset it is."""
# Older ones have no limit of what they read ahead of a fragment's batches.
_OLDEST = 14
_MANIFEST = re.compile(r"(.+)/_versions/[^/]+\.manifest")
_PLACE = re.compile(r", [^\s,]+\.rs:\d+(:\d+)?")  # in the source of Lance


def lance_folders(entries: Iterable[FileEntry]) -> set[str]:
    """Return the folders among some files that are Lance datasets."""
    found = {match[1] for entry in entries if (match := _MANIFEST.fullmatch(entry.url))}
    return {folder for folder in found if not _parents(folder) & found}


def is_inside(url: str, folders: set[str]) -> bool:
    """Return whether a file is part of one of these datasets."""
    return bool(folders) and bool(_parents(url) & folders)


def _parents(url: str) -> set[str]:
    return {url[: slash.start()] for slash in re.finditer("/", url)}


def list_fragments(folder: str) -> Iterator[Shard]:
    """List the fragments of a dataset's latest version as shards, not yet named.

    Raises:
        PairsiftError: it cannot be opened, or has no rows.
    """
    with telling(folder):
        found = _dataset(folder).get_fragments()
    if not found:
        raise PairsiftError(f"the Lance dataset {folder} has no rows; nothing can be scored")
    for fragment in found:
        yield Shard(
            "",
            folder,
            KIND,
            options=((FRAGMENT, fragment.fragment_id),),
            version=fragment_version(fragment),
        )


def _dataset(folder: str) -> Any:
    try:
        import lance

        if int(lance.__version__.partition(".")[0]) < _OLDEST:
            raise ImportError(f"this is {lance.__version__}")
    except ImportError as error:
        raise PairsiftError(
            f"{folder} is a Lance dataset, which needs pylance {_OLDEST} or newer ({error}): "
            "pip install 'pairsift[lance]'"
        ) from error
    return lance.dataset(folder)


@contextlib.contextmanager
def telling(folder: str) -> Iterator[None]:
    """Tell what Lance says in one sentence, where it opens a dataset."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise PairsiftError(
            f"the Lance dataset {folder} cannot be opened ({reason(error)}); check the path, or "
            "write it again"
        ) from error


def open_fragment(shard: Shard) -> Any:
    """Open the fragment that is a shard, in the dataset's latest version.

    Raises:
        PairsiftError: the dataset cannot be opened, or has no such fragment any more.
    """
    number = dict(shard.options)[FRAGMENT]
    with telling(shard.url):
        fragment = _dataset(shard.url).get_fragment(number)
    if fragment is None:
        raise PairsiftError(
            f"{shard.url} has no fragment {number} any more: the dataset was compacted or written "
            "again; score it into a new folder"
        )
    return fragment


def fragment_version(fragment: Any) -> str:
    """Return the `version` of a fragment: a digest of the list of its files.

    Files of Lance never change. Rows that are deleted or updated add a file to their fragment, and
    rows that are appended come into new fragments.
    """
    listed = fragment.metadata.to_json()
    parts = {name: listed.get(name) for name in ("files", "overlays", "deletion_file")}
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
    return f"listing {digest.hexdigest()}"


def reason(error: Exception) -> str:
    """Return an error of Lance without the place in its source."""
    text = first_line(error).removeprefix("External error: ")
    return _PLACE.sub("", text)[:300]
