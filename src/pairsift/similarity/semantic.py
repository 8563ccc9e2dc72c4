"""Semantic duplicates: images with similar embeddings, whose pixels may differ.

SemDeDup (Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic
deduplication", 2023, arXiv 2303.09540): embeddings are clustered by k-means, and only pairs in the
same cluster are compared. Two are duplicates if their cosine is above ``1 - epsilon``. Here chains
of duplicates make groups, of which `select --groups` keeps the best by any score; SemDeDup keeps
the image that is farthest from its cluster's centre.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.dedup.components import STARS, connect
from pairsift.embeddings import IMAGE
from pairsift.errors import PairsiftError
from pairsift.expressions.database import open_database, run_sql
from pairsift.progress import Listener, NullListener
from pairsift.scores import MANIFEST
from pairsift.select.groups import GROUPS
from pairsift.similarity.vectors import SameModel, as_float32, each, embedded_tables
from pairsift.storage import Folder

RECORD_KEY = b"pairsift.dedup"
_ROWS = 1024
_SAMPLE = 200_000
_STEPS = 20
_ROW_BITS = 32


@dataclass(frozen=True, slots=True)
class SemanticGroups:
    """What was found.

    Attributes:
        path: folder of ``groups.parquet``.
        rows: number of rows with an embedding.
        clusters: number of k-means clusters.
        pairs: number of pairs with a cosine above the threshold.
        groups, grouped, largest: number of groups, of rows in them, and of rows of the largest.
    """

    path: str
    rows: int
    clusters: int
    pairs: int
    groups: int
    grouped: int
    largest: int


def semantic_duplicates(
    scores: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    epsilon: float = 0.05,
    clusters: int | None = None,
    seed: int = 0,
    memory_limit: str = "2GB",
    listener: Listener | None = None,
) -> SemanticGroups:
    """Group images whose embeddings have a cosine above 1 - epsilon within a cluster.

    Args:
        scores: score folders with embeddings.
        out: folder for ``groups.parquet``, as for :func:`pairsift.dedup.dedup`.
        epsilon: 0 to 1; 0.05 takes cosines above 0.95.
        clusters: number of clusters; None for the square root of the number of rows.
        seed: of the sample and the first centres.
        memory_limit: of the database that connects the pairs. The embeddings of one cluster are
            in memory besides, float32, and two bytes of each row for its cluster.
        listener: receives the progress; None for nobody.

    Returns:
        what was found.

    Raises:
        PairsiftError: a folder has no embeddings, or they are of different scorers; a number is out
            of its range; `out` is a score folder.
    """
    listener = listener or NullListener()
    if not 0 <= epsilon <= 1:
        raise PairsiftError(f"--epsilon {epsilon}: give a number from 0 to 1")
    if clusters is not None and clusters < 1:
        raise PairsiftError(f"--clusters {clusters}: give at least 1")
    folder = Folder(out)
    if folder.exists(MANIFEST):
        raise PairsiftError(f"{folder.url} is a folder of scores; choose another --out")
    tables = embedded_tables(scores)
    made = [found for _, found in each(tables, SameModel())]
    rows = sum(int(one.ok.sum()) for one in made)
    count = min(max(1, rows), clusters or max(1, round(math.sqrt(rows))))
    listener.progress("clustering", 0, _STEPS)
    centres = _k_means(_sample([one.vectors[IMAGE][one.ok] for one in made], seed), count, seed,
                       listener)  # fmt: skip
    members: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(count)]
    for place, one in enumerate(made):
        ok = np.flatnonzero(one.ok)
        cluster = _nearest(one.vectors[IMAGE], ok, centres)
        order = np.argsort(cluster, kind="stable")
        ends = np.cumsum(np.bincount(cluster, minlength=count))
        for number, rows_of in enumerate(np.split(ok[order], ends[:-1])):
            if len(rows_of):
                members[number].append((place, rows_of))
    pairs = 0
    with open_database(memory_limit) as connection:
        run_sql(connection, "CREATE TEMP TABLE pairs (a UBIGINT, b UBIGINT)")
        for number, parts in enumerate(members):
            listener.progress("comparing within clusters", number, count)
            names = np.concatenate(
                [(np.uint64(place) << np.uint64(_ROW_BITS)) | rows_of.astype(np.uint64)
                 for place, rows_of in parts] or [np.zeros(0, np.uint64)])  # fmt: skip
            vectors = [as_float32(made[place].vectors[IMAGE][rows_of]) for place, rows_of in parts]
            if len(names) > 1:
                for a, b in near_pairs(np.concatenate(vectors), 1 - epsilon):
                    _insert(connection, names[a], names[b])
                    pairs += len(a)
        connect(connection, "pairs")
        groups = dict(run_sql(connection, f"SELECT a, b FROM {STARS}").fetchall())
    sizes: dict[int, int] = {}
    for least in groups.values():
        sizes[least] = sizes.get(least, 1) + 1
    columns: dict[str, list[object]] = {n: [] for n in ("shard", "key", "uid", "group", "size")}
    for place, table in enumerate(tables):
        named = [(place << _ROW_BITS) | row for row in range(len(made[place].ok))]
        wanted = [row for row, name in enumerate(named) if name in groups or name in sizes]
        if not wanted:
            continue
        identity = table.rows().take(pa.array(wanted))
        for column in ("shard", "key", "uid"):
            columns[column] += identity[column].to_pylist()
        roots = [groups.get(named[row], named[row]) for row in wanted]
        columns["group"] += [f"semantic-{root:016x}" for root in roots]
        columns["size"] += [sizes[root] for root in roots]
    schema = pa.schema(
        [("shard", pa.string()), ("key", pa.string()), ("uid", pa.string()),
         ("group", pa.string()), ("size", pa.int64())],
        metadata={RECORD_KEY: json.dumps({"on": "embedding", "epsilon": epsilon, "clusters": count,
                                          "seed": seed}).encode()},
    )  # fmt: skip
    folder.create()
    with folder.atomic(GROUPS) as file:
        pq.write_table(pa.table(columns, schema=schema), file, compression="zstd")
    return SemanticGroups(folder.url, rows, count, pairs, len(sizes), len(columns["key"]),
                          max(sizes.values(), default=0))  # fmt: skip


def near_pairs(vectors: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of all pairs with a cosine above a threshold; the first is the larger."""
    for at in range(0, len(vectors), _ROWS):
        products = vectors[at : at + _ROWS] @ vectors[: at + _ROWS].T
        a, b = np.nonzero(products > threshold)
        later = a + at > b
        if later.any():
            yield a[later] + at, b[later]


def _insert(connection: duckdb.DuckDBPyConnection, a: np.ndarray, b: np.ndarray) -> None:
    part = pa.table({"a": np.maximum(a, b), "b": np.minimum(a, b)})
    connection.register("part", part)
    run_sql(connection, "INSERT INTO pairs SELECT a, b FROM part")
    connection.unregister("part")


def _sample(parts: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Return at most `_SAMPLE` of the rows, drawn at random."""
    total = sum(map(len, parts))
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.permutation(total)[:_SAMPLE])
    starts = np.cumsum([0, *map(len, parts)])
    chosen = [part[wanted[(wanted >= begin) & (wanted < begin + len(part))] - begin]
              for part, begin in zip(parts, starts[:-1], strict=True)]  # fmt: skip
    return as_float32(np.concatenate(chosen)) if chosen else np.zeros((0, 1), np.float32)


def _k_means(sample: np.ndarray, count: int, seed: int, listener: Listener) -> np.ndarray:
    """Return centres of unit length by Lloyd's steps on a sample; empty clusters stay."""
    rng = np.random.default_rng([seed, 1])
    centres = sample[rng.permutation(len(sample))[:count]].copy()
    for step in range(_STEPS):
        listener.progress("clustering", step, _STEPS)
        cluster = _nearest(sample, np.arange(len(sample)), centres)
        sums = np.zeros(centres.shape)
        np.add.at(sums, cluster, sample)
        moved = as_float32(np.where(sums.any(axis=1, keepdims=True), sums, centres))
        if np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    return centres


def _nearest(vectors: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return, for each of these rows, the centre with the largest cosine."""
    found = np.zeros(len(rows), np.int64)
    for at in range(0, len(rows), _ROWS):
        part = as_float32(vectors[rows[at : at + _ROWS]])
        found[at : at + _ROWS] = (part @ centres.T).argmax(axis=1)
    return found
