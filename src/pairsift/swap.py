"""Replace a set of outputs together, so that all of them belong to the same run.

The new outputs are made in a separate folder and then moved into place. If a run is killed while it
makes or moves them, the next run continues there.
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
# In the stage once all outputs are made: the names to move, and the names to remove.
_READY = "_ready.json"


class OutputSet:
    """A set of named files and folders in a folder.

    Args:
        url: of the folder that holds them, local or fsspec.
        names: all names that may belong to the set; nothing else in the folder is changed.

    Attributes:
        stage: path or URL of the folder where new outputs are made.
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
        """Return the identity of the outputs in place; empty if there is none."""
        found: dict[str, Any] = _read(self._folder, IDENTITY) or {}
        return found

    def begin(self, identity: dict[str, Any], keep: Iterable[str] = ()) -> None:
        """Prepare the stage; outputs in it are kept if they have the same identity.

        Args:
            identity: everything that decides the outputs, as JSON values.
            keep: names in the stage that always have this identity.
        """
        if _read(self._aside, IDENTITY) != identity:
            for name in (IDENTITY, *(name for name in self.names if name not in set(keep))):
                _remove(self._aside, name)
            self._aside.create()
            self._aside.write(IDENTITY, json.dumps(identity).encode())

    def commit(self, *, drop: bool) -> None:
        """Move the outputs of the stage into place.

        Args:
            drop: whether to remove outputs in place that the stage does not have.
        """
        made = [name for name in self.names if self._aside.fs.exists(self._aside.file(name))]
        dropped = [name for name in self.names if drop and name not in made]
        self._aside.write(_READY, json.dumps({"moved": made, "dropped": dropped}).encode())
        self._finish()

    def discard(self) -> None:
        """Delete what is in the stage."""
        for name in (IDENTITY, *self.names):
            _remove(self._aside, name)
        self._aside.remove_leftovers()
        if self._aside.is_local:
            with contextlib.suppress(OSError):  # there is none, or it holds files that are not ours
                os.rmdir(self._aside.path)

    def _finish(self) -> None:
        ready = _read(self._aside, _READY)
        if ready is None:
            return
        _remove(self._folder, IDENTITY)  # until all are in place, the set has no identity
        for name in ready["dropped"]:
            _remove(self._folder, name)
        for name in (*ready["moved"], IDENTITY):
            self._move(name)
        _remove(self._aside, _READY)
        self.discard()

    def _move(self, name: str) -> None:
        """Move one output. Safe to repeat after an interruption: behind a URL it copies first."""
        source, target = self._aside.file(name), self._folder.file(name)
        if not self._aside.fs.exists(source):
            return  # already moved
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
