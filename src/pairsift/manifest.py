"""Record the settings of a folder, so that only the same work can be resumed in it.

The manifest is a small file in a folder whose runs may be killed and resumed. It records what
decides the content of the folder and is written once, before anything else. If two runs start at
the same moment, one writes it and the other compares its settings with it. This holds on local
disks and on storage that can write a file only if it is new.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pairsift.errors import PairsiftError
from pairsift.storage import Folder

Identity = Mapping[str, Any]


class Difference(NamedTuple):
    """A field whose value has changed."""

    field: str
    there: Any
    now: Any


class Manifest:
    """The file that records the settings that a folder was created with.

    Args:
        folder: the folder of the work.
        name: file name of the manifest in it.
        identity: everything that decides what the folder will hold, as JSON values; mappings may be
            nested.
        refusal: returns the error message, from the stored identity and the differences.
        optional: fields that manifests of older versions lack; if so, the current value is
            accepted.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        identity: Identity,
        refusal: Callable[[dict[str, Any], list[Difference]], str],
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self.folder = folder
        self.name = name
        self.identity = json.loads(json.dumps(identity))
        self._refusal = refusal
        self._optional = optional
        self._lock = threading.Lock()
        self._taken = False

    def read(self) -> dict[str, Any] | None:
        """Return the manifest; None if there is none.

        Raises:
            PairsiftError: it cannot be read.
        """
        path = self.folder.file(self.name)
        try:
            content = json.loads(self.folder.read(self.name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise PairsiftError(
                f"{path} is not readable JSON ({error}); choose another --out, or restore that file"
            ) from error
        if not isinstance(content, dict):
            raise PairsiftError(
                f"{path} does not record the settings of the folder; choose another --out, "
                "or restore that file"
            )
        return content

    def check(self) -> bool:
        """Return whether the folder has a manifest with the same identity. Writes nothing.

        Raises:
            PairsiftError: it was created with other settings; the message names what differs.
        """
        there = self.read()
        if there is None:
            return False
        wanted = {
            name: value
            for name, value in self.identity.items()
            if name in there or name not in self._optional
        }
        if found := differences({name: there.get(name) for name in wanted}, wanted):
            raise PairsiftError(self._refusal(there, found))
        return True

    def take(self) -> bool:
        """Create the folder, or resume in it; call it before anything is committed there.

        Returns:
            whether this call created it.

        Raises:
            PairsiftError: as :meth:`check`.
        """
        with self._lock:
            if self.check():
                return False
            self.folder.create()
            content = (json.dumps(self.identity, indent=1) + "\n").encode()
            if self.folder.write_new(self.name, content):
                self._taken = True
            # Another run may have created it in the meantime, with other settings.
            self.check()
            return self._taken

    def release(self) -> bool:
        """Remove the manifest that :meth:`take` wrote, for a run that then wrote nothing else.

        Returns:
            whether there was one.
        """
        with self._lock:
            taken, self._taken = self._taken, False
            if taken:
                self.folder.remove(self.name)
            return taken


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return the fields in which two identities differ; of nested ones, the innermost fields."""
    found: list[Difference] = []
    for field in sorted(there.keys() | now.keys()):
        theirs, ours = there.get(field), now.get(field)
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            found += differences(theirs, ours)
        elif theirs != ours:
            found.append(Difference(field, theirs, ours))
    return found


def in_words(found: Iterable[Difference]) -> str:
    """Format differences: ``field is 'a' there and 'b' now; ...``."""
    return "; ".join(f"{each.field} is {each.there!r} there and {each.now!r} now" for each in found)


def changes(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in words what differs between two identities; empty if nothing does."""
    return in_words(differences(there, now))
