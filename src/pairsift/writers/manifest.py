"""The folder that a writer fills: the same work may be resumed, other work is refused."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairsift.byte_ranges import decode_checks
from pairsift.errors import PairsiftError
from pairsift.manifest import Difference, Manifest
from pairsift.provenance import NO_IMAGES
from pairsift.scorers.imported import WITHOUT_IMAGES
from pairsift.scores import read_facts, table_bytes
from pairsift.select.record import KeptShard, Selection
from pairsift.storage import Folder

# Not .json, because img2dataset reads every .json of a folder as a shard's statistics.
MANIFEST = "_pairsift.manifest"
_DIGEST_BYTES = 16
_OF_NOTHING = hashlib.blake2b(digest_size=_DIGEST_BYTES).hexdigest()


class OutputManifest:
    """Reserves an output folder for one piece of work when its first file is written.

    A folder in which an empty selection was written is free for another selection.

    Args:
        folder: the folder of the output.
        selection: what is written.
        columns: score columns whose values are written.
        options: everything else that decides the written bytes.
        of_nothing: patterns of the files that an empty selection writes, below the folder.
        within: of the folder that this one is part of.

    Raises:
        PairsiftError: the folder holds something else, or was begun with other work.
    """

    def __init__(
        self,
        folder: Folder,
        selection: Selection,
        columns: Sequence[str],
        options: Mapping[str, Any],
        of_nothing: Sequence[str],
        within: OutputManifest | None = None,
    ) -> None:
        if selection.record.fingerprint.get("samples") == WITHOUT_IMAGES:
            raise PairsiftError(f"{NO_IMAGES}, or write --parquet or --datacomp")
        self.folder = folder
        self._within = within
        self._of_nothing = of_nothing
        identity = {
            "selection": digest_content(selection, columns),
            "fingerprint": selection.record.fingerprint,
            "roots": [entry.get("root") for entry in selection.record.inputs],
            **options,
        }
        self._manifest = Manifest(folder, MANIFEST, identity, self._refusal)
        names = folder.names()
        if MANIFEST not in names and names:
            raise PairsiftError(
                f"{folder.url} already holds {sorted(names)[0]} and was not created by this "
                "command; choose an empty folder"
            )
        if not self._is_free():
            self._manifest.check()

    def take(self) -> None:
        """Begin the folder, right before the first file is committed; repeating it is harmless."""
        if self._within is not None:
            self._within.take()
        self._manifest.take()

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Create the folder for the block, and remove it if nothing was written."""
        with self.folder.created():
            self.folder.remove_leftovers()
            if self._is_free():
                for name in self._files():
                    self.folder.remove(name)
                self.folder.remove(MANIFEST)
            try:
                yield
            except BaseException:
                if not (self.folder.names() - {MANIFEST}):
                    self._manifest.release()
                raise

    def _is_free(self) -> bool:
        """Return whether only an empty selection, not this work, was written to the folder.

        Raises:
            PairsiftError: other files were added since.
        """
        there = self._manifest.read()
        if not there or there == self._manifest.identity or there.get("selection") != _OF_NOTHING:
            return False
        for name in self._files():
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._of_nothing):
                raise PairsiftError(
                    f"{self.folder.url} was begun with an empty selection, and now holds "
                    f"{name}; choose another folder, or delete this one"
                )
        return True

    def _files(self) -> list[str]:
        return [name for name in self.folder.names_below() if name != MANIFEST]

    def _refusal(self, there: dict[str, Any], found: list[Difference]) -> str:
        instead = "choose another folder, or delete this one"
        if "roots" not in there:
            return (
                f"{self.folder.url} was begun by an older version of Pairsift, which did not "
                "record "
                f"enough to prove that this is the same work; {instead}"
            )
        words = " and ".join(f"{each.field} (there {each.there}, now {each.now})" for each in found)
        return f"{self.folder.url} was begun with another {words}; {instead}"


def digest_content(selection: Selection, columns: Sequence[str]) -> str:
    """Return a digest of what a selection writes: the rows, their samples' checksums, their scores.

    For tables older than checksums, the digest holds the scoring run that made them.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for shard in selection.shards():
        digest.update(f"{shard.shard}\0{len(shard.rows)}\0".encode())
        digest.update(shard.rows.tobytes())
        digest.update(_sample_identity(shard))
        if columns:
            digest.update(table_bytes(shard.table(columns)))
    return digest.hexdigest()


def _sample_identity(shard: KeptShard) -> bytes:
    metadata = shard.metadata()
    checks = decode_checks(metadata)
    if checks is not None:
        return bytes(checks[shard.rows].data)
    facts = read_facts(metadata, shard.path)
    names = ("source", "source_size", "rows", "run", "finished_at")
    return json.dumps([facts.get(name) for name in names]).encode()
