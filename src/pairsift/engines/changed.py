"""Find shards that changed after they were scored.

The size and the time or version in a listing are enough for nearly all shards. A shard that was
touched, copied or moved is read once; each sample is compared with the checksum in the table.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.manifest import changes
from pairsift.pair import Pair, Status
from pairsift.provenance import Provenance, difference, find_source, read_provenance
from pairsift.scorers.carried_fields import FINGERPRINT as CARRIED
from pairsift.scorers.carried_fields import parse_carried, read_values
from pairsift.scorers.imported import NAME as IMPORTED
from pairsift.scores import (
    FINGERPRINT_KEY,
    TABLE_SUFFIX,
    ScoreFolder,
    input_options,
    read_table,
    read_table_facts,
)
from pairsift.sources import Shard
from pairsift.sources.lance_datasets import KIND as LANCE

# Cache of what the tables' footers say, so that a run does not open each table again.
KNOWN = "_sources.gz"
_FIELDS = ("source", "source_kind", "source_size", "source_options", "source_version")
# Reading the end of a remote file is mostly waiting, so many are read at once.
READERS = 32


def find_changed(scores: ScoreFolder, shards: Sequence[Shard]) -> dict[str, str]:
    """Find shards that differ from what their tables were made from, and say how they differ.

    If a shard has another size, path or version but the same samples, its table is updated.

    Args:
        shards: those that have a table.

    Raises:
        PairsiftError: a table was made from another caption or image of the shard; a table or
            a shard cannot be read.
    """
    facts = _known_facts(scores, [shard.name for shard in shards])
    doubtful = [shard for shard in shards if _differs(shard, facts[shard.name])]
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda shard: compare(scores, shard), doubtful))
    return {shard.name: how for shard, how in zip(doubtful, found, strict=True) if how}


def refuse_gone(scores: ScoreFolder, shards: Sequence[Shard], tables: Iterable[str]) -> None:
    """Refuse tables of fragments that a Lance dataset has no more: their rows may be in others now.

    Args:
        shards: all shards of the run.
        tables: names of all tables in the folder.

    Raises:
        PairsiftError: there are such tables, whose rows would be there twice.
    """
    datasets = {shard.url for shard in shards if shard.kind == LANCE}
    if not datasets:
        return
    others = sorted(set(tables) - {shard.name for shard in shards})
    facts = _known_facts(scores, others)
    gone = [name for name in others if facts[name].get("source") in datasets]
    if gone:
        raise PairsiftError(
            f"{scores.folder.url} holds scores of {len(gone):,} fragments ({gone[0]}) that "
            f"{facts[gone[0]]['source']} has no more: it was compacted or written again, so that "
            "rows would be there twice; choose another --out"
        )


def _known_facts(scores: ScoreFolder, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what the tables record about their sources, from the cache if it is up to date."""
    if not names:
        return {}
    stamps = scores.folder.stamps()
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, EOFError, ValueError):  # a broken cache is written again
        known = json.loads(gzip.decompress(scores.folder.read(KNOWN)))

    def is_known(name: str) -> bool:
        return name in known and known[name]["stamp"] == stamps.get(name + TABLE_SUFFIX)

    unknown = [name for name in names if not is_known(name)]
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda name: read_table_facts(scores.folder, name), unknown)
        for name, facts in zip(unknown, read, strict=True):
            kept = {field: facts.get(field) for field in _FIELDS}
            known[name] = kept | {"stamp": stamps.get(name + TABLE_SUFFIX)}
    if unknown:
        content = json.dumps(known, sort_keys=True).encode()
        scores.folder.write(KNOWN, gzip.compress(content, 6, mtime=0))
    return known


def _differs(shard: Shard, facts: Mapping[str, Any]) -> bool:
    if not facts.get("source"):
        return False  # not written by a scoring run
    scored = find_source(shard.name, facts)
    return (
        scored.url != shard.url
        or _input(scored) != _input(shard)
        or difference(scored, shard.size, shard.version) is not None
    )


def compare(scores: ScoreFolder, shard: Shard) -> str | None:
    """Say how a shard differs from what its table was made from; None if it does not."""
    origin = read_provenance(scores.folder, shard.name)
    _refuse_other_input(scores, origin.shard, shard)
    how = difference(origin.shard, shard.size, shard.version)
    if origin.checks is None:
        # An older table without checksums: only the size can be compared.
        return how if origin.shard.size != shard.size else None
    table, facts = read_table(scores.folder, shard.name)
    try:
        same = Provenance(shard, origin.checks).is_same(
            table.column("key").to_pylist(), also=_carries(table)
        )
    except PairsiftError as error:
        return str(error)
    except OSError as error:
        raise PairsiftError(
            f"{shard.url} was written again after it was scored, and could not be read to check "
            f"whether it is the same: {error}; run the command again"
        ) from error
    if not same:
        return how or "its samples are different"
    new = {
        "source": shard.url,
        "source_root": scores.root,
        "source_size": shard.size,
        "source_version": shard.version,
    }
    scores.renew(shard.name, facts | new)
    return None


def _carries(table: pa.Table) -> Callable[[int, Pair], bool] | None:
    """Return a test whether a sample has what a row has in its carried columns, if there are any.

    The checksum of a sample is of its image, caption and uid.
    """
    told = json.loads((table.schema.metadata or {}).get(FINGERPRINT_KEY, b"{}"))
    if told.get("scorer") == IMPORTED or CARRIED not in told:
        return None
    fields = parse_carried(json.loads(told[CARRIED]))
    rows = table.select([field.name for field in fields]).to_pylist()
    # A row whose preprocessing died has no values.
    lacking = [Status(status).retryable for status in table.column("status").to_pylist()]

    def agrees(row: int, pair: Pair) -> bool:
        values, _ = read_values(fields, pair.metadata)
        return lacking[row] or all(values.get(name) == is_ for name, is_ in rows[row].items())

    return agrees


def _refuse_other_input(scores: ScoreFolder, scored: Shard, shard: Shard) -> None:
    if differing := changes(_input(scored), _input(shard)):
        raise PairsiftError(
            f"{scores.folder.url} holds scores of other captions or images of {shard.name}: "
            f"{differing}. Choose another --out, or use the same options as before"
        )


def _input(shard: Shard) -> dict[str, Any]:
    return {"kind": shard.kind, **input_options(shard.kind, shard.options)}
