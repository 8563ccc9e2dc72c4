"""Whose folder it is that a writer fills: a run that was killed goes on, others are refused."""

from __future__ import annotations

import json
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.storage import Folder

# No .json: img2dataset and its readers take every .json of a folder for a shard's statistics.
MANIFEST = "_pairsift.manifest"


def claim(folder: Folder, options: dict[str, Any]) -> None:
    """Make the folder ours, or refuse: nothing is written among other people's files.

    Args:
        options: what decides the bytes that are written; a folder that was begun with others is
            not gone on with.

    Raises:
        PairsiftError: the folder holds something else.
    """
    folder.create()
    folder.remove_leftovers()
    names = folder.names()
    if MANIFEST not in names:
        if names:
            raise PairsiftError(
                f"{folder.url} already holds {sorted(names)[0]} and is not a folder of this "
                "command; choose an empty one for --out"
            )
        folder.write(MANIFEST, (json.dumps(options, indent=1) + "\n").encode())
        return
    there = json.loads(folder.read(MANIFEST))
    differing = [name for name in options if there.get(name) != options[name]]
    if differing:
        raise PairsiftError(
            f"{folder.url} was begun with another {' and '.join(differing)}; choose another "
            "folder for --out, or delete this one"
        )
