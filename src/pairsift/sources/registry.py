"""The known formats: a reader for each kind of source, and its file extensions."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from pairsift.errors import PairsiftError
from pairsift.sources.base import ShardReader

PLUGIN_GROUP = "pairsift.sources"
BUILT_IN = {
    "webdataset": "pairsift.sources.webdataset:WebdatasetReader",
    "parquet": "pairsift.sources.parquet:ParquetReader",
    "arrow": "pairsift.sources.arrow_ipc:ArrowReader",
    "lance": "pairsift.sources.lance_fragments:LanceReader",
    "folder": "pairsift.sources.folder:FolderReader",
    "scores": "pairsift.sources.score_rows:ScoreRowsReader",
}


@cache
def readers() -> Mapping[str, type[ShardReader]]:
    """Return readers by kind: the built-in ones, then those of `pairsift.sources` entry points.

    Raises:
        PairsiftError: a reader of an installed package uses a kind or an extension of another
            reader.
    """
    found: dict[str, type[ShardReader]] = {}
    for kind, path in BUILT_IN.items():
        module, _, name = path.partition(":")
        found[kind] = getattr(importlib.import_module(module), name)
    taken = {extension: kind for kind, reader in found.items() for extension in reader.extensions}
    for plugin in entry_points(group=PLUGIN_GROUP):
        reader: type[ShardReader] = plugin.load()
        for what, other in (
            (f"kind {plugin.name!r}", found.get(plugin.name)),
            *((f"extension {end}", taken.get(end)) for end in reader.extensions),
        ):
            if other is not None:
                raise PairsiftError(
                    f"the source {plugin.name} of {plugin.value} uses the {what}, which "
                    "another source already uses; uninstall one of the two packages"
                )
        found[plugin.name] = reader
        taken |= dict.fromkeys(reader.extensions, plugin.name)
    return found


@cache
def extensions() -> Mapping[str, str]:
    """Return kind by file extension, in lower case, the longest extensions first."""
    kinds = {end: kind for kind, reader in readers().items() for end in reader.extensions}
    return dict(sorted(kinds.items(), key=lambda item: -len(item[0])))
