"""The list of writers, and how a name and a path become an output.

A writer is a function that prepares: it gets the selection, the path and the step's options, checks
them without writing anything, and returns a function that writes. So all outputs of a command are
checked before the first one is written.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from pairsift.errors import PairsiftError
from pairsift.options import WriteOptions
from pairsift.select.record import Selection
from pairsift.sources.files import normalise
from pairsift.storage import output_file

PLUGIN_GROUP = "pairsift.writers"


class Written(Protocol):
    """What a writer wrote: a dataclass of plain values, one of them the path."""

    @property
    def path(self) -> str: ...

    def lines(self) -> list[str]:
        """What was written, for people."""


Write = Callable[[], Written]
Prepare = Callable[[Selection, str, WriteOptions], Write]


@dataclass(frozen=True, slots=True)
class Entry:
    """A writer by name; its module is imported only when it is used.

    Attributes:
        prepare: "module:callable", a `Prepare`.
        file: name of its output in the `out` folder of `pairsift run`.
    """

    name: str
    prepare: str
    file: str

    def load(self) -> Prepare:
        """Import the writer."""
        module, _, attribute = self.prepare.partition(":")
        found: Prepare = getattr(importlib.import_module(module), attribute)
        return found


_HERE = "pairsift.writers.registry"
BUILT_IN = (
    Entry("datacomp", f"{_HERE}:prepare_datacomp", "subset.npy"),
    Entry("webdataset", f"{_HERE}:prepare_webdataset", "shards"),
    Entry("buckets", f"{_HERE}:prepare_buckets", "buckets"),
    Entry("dataset", f"{_HERE}:prepare_dataset", "dataset"),
    Entry("parquet", f"{_HERE}:prepare_parquet", "kept.parquet"),
)


def entries() -> dict[str, Entry]:
    """Return the built-in writers, and those of `pairsift.writers` entry points."""
    found = {
        plugin.name: Entry(plugin.name, plugin.value, plugin.name)
        for plugin in entry_points(group=PLUGIN_GROUP)
    }
    return found | {entry.name: entry for entry in BUILT_IN}


def outputs_of(options: WriteOptions) -> dict[str, str]:
    """Return the requested outputs: path by name of the writer.

    Raises:
        PairsiftError: no output is requested, two have the same path, or a writer is unknown.
    """
    asked = {entry.name: getattr(options, entry.name) for entry in BUILT_IN} | dict(options.to)
    asked = {name: path for name, path in asked.items() if path}
    known = entries()
    if not asked:
        raise PairsiftError(
            f"nothing to write: give {', '.join(f'--{entry.name}' for entry in BUILT_IN[:-1])} "
            f"or --{BUILT_IN[-1].name}"
        )
    seen: dict[str, str] = {}
    for name, path in asked.items():
        if name not in known:
            raise PairsiftError(f"--to {name}={path}: no such writer; there are {', '.join(known)}")
        if (other := seen.setdefault(normalise(path), name)) != name:
            raise PairsiftError(f"--{other} and --{name} are both {path}; give each its own")
    return asked


# Outputs that hold a row as often as it was drawn.
_REPEATING = ("datacomp", "parquet")


def refuse_repeats(options: WriteOptions) -> None:
    """Refuse outputs that cannot hold a sample more than once.

    Raises:
        PairsiftError: an asked output cannot.
    """
    for name in outputs_of(options):
        if name not in _REPEATING:
            raise PairsiftError(
                f"--{name} writes each sample once, but a sample by weight has some more than "
                f"once; write --{' or --'.join(_REPEATING)}, or select with --repeat-penalty inf"
            )


def write_outputs(selection: Selection, options: WriteOptions) -> dict[str, Written]:
    """Write a selection in one format or several, as `pairsift write` does.

    Args:
        selection: the selection, written to a folder.
        options: the path of each output to write. Its other fields, with their defaults, are those
            of the section `[write]` in [the file of `pairsift run`](run.md).

    Returns:
        what was written, by the writer's name.

    Raises:
        PairsiftError: no output is asked for, two have the same path, or a writer cannot write
            its output. If an option is wrong, nothing is written.

    Examples:
        >>> from pairsift.options import WriteOptions
        >>> from pairsift.select import select
        >>> selection = select("scores", where="smaller_side >= 250", out="selection")
        >>> written = write_outputs(selection, WriteOptions(parquet="kept.parquet"))
        >>> written["parquet"].lines()
        ['3 rows in kept.parquet']
    """
    known = entries()
    if selection.record.repeats:
        refuse_repeats(options)
    prepared = {
        name: known[name].load()(selection, path, options)
        for name, path in outputs_of(options).items()
    }
    return {name: write() for name, write in prepared.items()}


def prepare_datacomp(selection: Selection, path: str, options: WriteOptions) -> Write:
    from pairsift.writers.datacomp import SUBSET, write_datacomp

    output_file(path, SUBSET)
    repeats = options.keep_duplicates or selection.record.repeats > 0
    return lambda: write_datacomp(selection, path, duplicates=repeats)


def prepare_webdataset(selection: Selection, path: str, options: WriteOptions) -> Write:
    from pairsift.writers.webdataset import prepare_webdataset as prepare

    return prepare(
        selection,
        path,
        samples_per_shard=options.samples_per_shard,
        scores=options.add_scores or None,
        root=options.root,
        workers=options.workers,
    ).write


def prepare_buckets(selection: Selection, path: str, options: WriteOptions) -> Write:
    from pairsift.writers.buckets import prepare_buckets as prepare

    return prepare(
        selection,
        path,
        options.bucket_by,
        options.bucket_edges,
        samples_per_shard=options.samples_per_shard,
        scores=options.add_scores or None,
        root=options.root,
        workers=options.workers,
    ).write


def prepare_dataset(selection: Selection, path: str, options: WriteOptions) -> Write:
    from pairsift.writers.dataset import prepare_dataset as prepare

    return prepare(selection, path, root=options.root).write


def prepare_parquet(selection: Selection, path: str, options: WriteOptions) -> Write:
    from pairsift.writers.parquet import LIST, write_parquet

    output_file(path, LIST)
    return lambda: write_parquet(selection, path)
