"""Outputs that belong together, replaced together: all of them are of one run, or of the last one.

They are made in a folder aside and then take their places. A run that was killed while it made them
goes on there; one that was killed while they took their places goes on with that first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.storage import Folder, join

STAGE = "next"
IDENTITY = "_outputs.json"
# In the stage once all outputs are made: what is to be moved, and what to be removed.
_READY = "_ready.json"


class OutputSet:
    """Named files and folders of a folder.

    Args:
        url: of the folder that they lie in, local or fsspec.
        names: all that may ever belong to the set; nothing else in the folder is touched.

    Attributes:
        stage: path or URL of the folder where new ones are made.
    """

    def __init__(self, url: str, names: Sequence[str]) -> None:
        self.url = url
        self.names = tuple(names)
        self.stage = join(url, STAGE)
        self._folder, self._aside = Folder(url), Folder(self.stage)
        self._folder.remove_leftovers()
        self._finish()

    @property
    def current(self) -> dict[str, Any]:
        """Identity of the outputs in place; empty if there are none, or not known."""
        found: dict[str, Any] = _read(self._folder, IDENTITY) or {}
        return found

    def begin(self, identity: dict[str, Any], keep: Iterable[str] = ()) -> None:
        """Prepare the stage; what is there is gone on with if it is of the same identity.

        Args:
            identity: everything that decides the outputs, as JSON's plain values.
            keep: names in the stage that are of this identity in any case.
        """
        if _read(self._aside, IDENTITY) != identity:
            for name in (IDENTITY, *(name for name in self.names if name not in set(keep))):
                _remove(self._aside, name)
            self._aside.create()
            self._aside.write(IDENTITY, json.dumps(identity).encode())

    def commit(self, *, drop: bool) -> None:
        """Put what is in the stage in place of what is there.

        Args:
            drop: remove those in place that the stage has not.
        """
        made = [name for name in self.names if self._aside.fs.exists(self._aside.file(name))]
        dropped = [name for name in self.names if drop and name not in made]
        self._aside.write(_READY, json.dumps({"moved": made, "dropped": dropped}).encode())
        self._finish()

    def discard(self) -> None:
        """Remove what is in the stage."""
        for name in (IDENTITY, *self.names):
            _remove(self._aside, name)
        self._aside.remove_leftovers()
        if self._aside.is_local:
            with contextlib.suppress(OSError):  # there is none, or it holds what is not ours
                os.rmdir(self._aside.path)

    def _finish(self) -> None:
        ready = _read(self._aside, _READY)
        if ready is None:
            return
        _remove(self._folder, IDENTITY)  # until all are in place, they are of no identity
        for name in ready["dropped"]:
            _remove(self._folder, name)
        for name in (*ready["moved"], IDENTITY):
            self._move(name)
        _remove(self._aside, _READY)
        self.discard()

    def _move(self, name: str) -> None:
        """Repeatable, wherever it was ended: behind a URL a copy, and the original stays."""
        source, target = self._aside.file(name), self._folder.file(name)
        if not self._aside.fs.exists(source):
            return  # moved before
        _remove(self._folder, name)
        if self._folder.is_local:
            os.replace(source, target)
        else:
            self._folder.fs.copy(source, target, recursive=self._folder.fs.isdir(source))


def _read(folder: Folder, name: str) -> Any:
    try:
        return json.loads(folder.read(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise PairsiftError(f"{folder.file(name)} is not valid JSON: {error}; remove it") from error


def _remove(folder: Folder, name: str) -> None:
    path = folder.file(name)
    if not folder.is_local:
        if folder.fs.exists(path):
            folder.fs.rm(path, recursive=True)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
