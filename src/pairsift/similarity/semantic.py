"""Semantic duplicates: images with similar embeddings, whose pixels may differ.

SemDeDup (Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic
deduplication", 2023, arXiv 2303.09540): embeddings are clustered by k-means, and only pairs in the
same cluster are compared. Two are duplicates if their cosine is above ``1 - epsilon``. Here chains
of duplicates make groups, of which `select --groups` keeps the best by any score; SemDeDup keeps
the image that is farthest from its cluster's centre.

Finished parts are kept in the output folder until the end, so that a stopped run goes on. The
result depends on the seed and on the order of the tables, not on where a run was stopped.
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

import pairsift
from pairsift.dedup.components import STARS, connect
from pairsift.dedup.stages import Stages
from pairsift.embeddings import IMAGE, Embeddings
from pairsift.errors import PairsiftError
from pairsift.expressions.database import open_database, run_sql
from pairsift.progress import Listener, NullListener
from pairsift.scores import MANIFEST
from pairsift.select.groups import EMBEDDING, GROUPS, RECORD_KEY, check_groups_output, made_of
from pairsift.select.tables import find_score_tables
from pairsift.similarity.vectors import (
    EmbeddedTable,
    SameModel,
    as_float32,
    each,
    embedded_tables,
)
from pairsift.storage import Folder

_ROWS = 1024
_SAMPLE = 200_000
_STEPS = 20
_ROW_BITS = 32
_PAIRS = pa.schema([("a", pa.uint64()), ("b", pa.uint64())])
_STAGES = 100


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

    def lines(self) -> list[str]:
        """What was found, for people."""
        return [
            f"{self.grouped:,} of {self.rows:,} rows are in {self.groups:,} groups, the largest of "
            f"{self.largest:,}; {self.clusters:,} clusters, {self.pairs:,} pairs; written to "
            f"{self.path}"
        ]


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
            in memory besides, float32, and 24 bytes of each row.
        listener: receives the progress; None for nobody.

    Returns:
        what was found.

    Raises:
        PairsiftError: a folder has no embeddings, or they are of different scorers; a number is out
            of its range; `out` is a score folder, or has groups of `pairsift dedup` or another file
            of this name.
    """
    listener = listener or NullListener()
    if not 0 <= epsilon <= 1:
        raise PairsiftError(f"--epsilon {epsilon}: give a number from 0 to 1")
    if clusters is not None and clusters < 1:
        raise PairsiftError(f"--clusters {clusters}: give at least 1")
    if seed < 0:
        raise PairsiftError(f"--seed {seed}: give a whole number of at least 0")
    folder = Folder(out)
    if folder.exists(MANIFEST):
        raise PairsiftError(f"{folder.url} is a folder of scores; choose another --out")
    check_groups_output(folder, EMBEDDING)
    tables = embedded_tables(scores)
    made = [found for _, found in each(tables, SameModel())]
    rows = sum(int(one.ok.sum()) for one in made)
    count = min(max(1, rows), clusters or max(1, round(math.sqrt(rows))))
    record = {"on": EMBEDDING, "epsilon": epsilon, "clusters": count, "seed": seed}
    inputs = [[table.folder.url, table.name, table.digest()] for table in tables]
    stages = Stages(folder, record | {"inputs": inputs, "version": pairsift.__version__})
    centres = _centres(stages, made, count, seed, listener)
    places, cluster = _assign(stages, made, centres, listener)
    names = _compare(stages, made, places, cluster, 1 - epsilon, listener)
    with open_database(memory_limit) as connection:
        listener.progress("connecting duplicates", 0, 1)
        found = stages.relation(connection, *names)
        ((pairs,),) = run_sql(connection, f"SELECT count(*) FROM {found}").fetchall()
        connect(connection, found)
        made_from = made_of(find_score_tables(connection, scores))
        groups, grouped, largest = _write(
            connection, folder, tables, record | {"tables": made_from}
        )
    stages.clear()
    return SemanticGroups(folder.url, rows, count, int(pairs), groups, grouped, largest)


def _centres(
    stages: Stages, made: Sequence[Embeddings], count: int, seed: int, listener: Listener
) -> np.ndarray:
    """Return the centres of the clusters, (count, dimension)."""
    if not stages.has("centres"):
        sample = _sample([one.vectors[IMAGE][one.ok] for one in made], seed)
        found = k_means(sample, count, seed, listener)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])
        stages.keep_table("centres", pa.table({"centre": flat}))
    kept = stages.read("centres")["centre"]
    dimension = kept.type.list_size
    centres: np.ndarray = kept.combine_chunks().flatten().to_numpy().reshape(-1, dimension)
    return centres


def _assign(
    stages: Stages, made: Sequence[Embeddings], centres: np.ndarray, listener: Listener
) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each row with an embedding, and its cluster.

    A place is the number of the table, and below `_ROW_BITS` that of the row.
    """
    places, clusters = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    for number, one in enumerate(made):
        listener.progress("finding clusters", number, len(made), unit="tables")
        rows, name = np.flatnonzero(one.ok), f"cluster-{number:06}"
        if not stages.has(name):
            near = nearest(one.vectors[IMAGE], rows, centres).astype(np.int32)
            stages.keep_table(name, pa.table({"cluster": near}))
        clusters.append(stages.read(name)["cluster"].to_numpy())
        places.append((np.uint64(number) << np.uint64(_ROW_BITS)) | rows.astype(np.uint64))
    return np.concatenate(places), np.concatenate(clusters)


def _compare(
    stages: Stages,
    made: Sequence[Embeddings],
    places: np.ndarray,
    cluster: np.ndarray,
    threshold: float,
    listener: Listener,
) -> list[str]:
    """Find the pairs within each cluster; return the stages that hold them."""
    order = np.argsort(cluster, kind="stable")
    count = int(cluster.max()) + 1 if len(cluster) else 1
    ends = np.cumsum(np.bincount(cluster, minlength=count))
    names = []
    for stage, numbers in enumerate(np.array_split(np.arange(count), min(count, _STAGES))):
        listener.progress("comparing within clusters", int(numbers[0]), count)
        names.append(f"pairs-{stage:04}")
        if stages.has(names[-1]):
            continue
        parts = [_PAIRS.empty_table()]
        for number in numbers:
            begin = ends[number - 1] if number else 0
            members = places[order[begin : ends[number]]]
            for a, b in near_pairs(_vectors(made, members), threshold):
                parts.append(pa.table([members[a], members[b]], schema=_PAIRS))
        stages.keep_table(names[-1], pa.concat_tables(parts))
    return names


def _vectors(made: Sequence[Embeddings], places: np.ndarray) -> np.ndarray:
    """Return the unit embeddings at these places, which are in ascending order."""
    numbers = places >> np.uint64(_ROW_BITS)
    rows = places & np.uint64((1 << _ROW_BITS) - 1)
    parts = [
        made[int(number)].vectors[IMAGE][rows[numbers == number]] for number in np.unique(numbers)
    ]
    return as_float32(np.concatenate(parts)) if parts else np.zeros((0, 1), np.float32)


def _write(
    connection: duckdb.DuckDBPyConnection,
    folder: Folder,
    tables: Sequence[EmbeddedTable],
    record: dict[str, object],
) -> tuple[int, int, int]:
    """Write the rows of all groups, table by table.

    Returns:
        number of groups, of their rows, and of the largest one's rows.
    """
    grouped = run_sql(
        connection,
        "SELECT place, root, count(*) OVER (PARTITION BY root) AS size FROM (SELECT a AS place, "
        f"b AS root FROM {STARS} UNION ALL SELECT DISTINCT b, b FROM {STARS}) ORDER BY place",
    ).fetchnumpy()
    schema = pa.schema(
        [("shard", pa.string()), ("key", pa.string()), ("uid", pa.string()),
         ("group", pa.string()), ("size", pa.int64())],
        metadata={RECORD_KEY: json.dumps(record).encode()},
    )  # fmt: skip
    places, roots, sizes = (np.asarray(grouped[name]) for name in ("place", "root", "size"))
    starts = np.arange(len(tables) + 1, dtype=np.uint64) << np.uint64(_ROW_BITS)
    edges = np.searchsorted(places, starts)
    with (
        folder.atomic(GROUPS) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for table, begin, end in zip(tables, edges[:-1], edges[1:], strict=True):
            if begin == end:
                continue
            rows = places[begin:end] & np.uint64((1 << _ROW_BITS) - 1)
            identity = table.rows().take(pa.array(rows))
            names = [f"semantic-{root:016x}" for root in roots[begin:end].tolist()]
            columns = [*identity.columns[:3], pa.array(names), pa.array(sizes[begin:end])]
            writer.write_table(pa.table(columns, names=schema.names).cast(schema))
    return int((roots == places).sum()), len(places), int(sizes.max(initial=0))


def near_pairs(vectors: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of all pairs with a cosine above a threshold; the first is the larger."""
    for at in range(0, len(vectors), _ROWS):
        products = vectors[at : at + _ROWS] @ vectors[: at + _ROWS].T
        a, b = np.nonzero(products > threshold)
        later = a + at > b
        if later.any():
            yield a[later] + at, b[later]


def _sample(parts: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Return at most `_SAMPLE` of the rows, drawn at random."""
    total = sum(map(len, parts))
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.permutation(total)[:_SAMPLE])
    starts = np.cumsum([0, *map(len, parts)])
    chosen = [part[wanted[(wanted >= begin) & (wanted < begin + len(part))] - begin]
              for part, begin in zip(parts, starts[:-1], strict=True)]  # fmt: skip
    return as_float32(np.concatenate(chosen)) if chosen else np.zeros((0, 1), np.float32)


def k_means(sample: np.ndarray, count: int, seed: int, listener: Listener) -> np.ndarray:
    """Return centres of unit length by Lloyd's steps on a sample; empty clusters stay."""
    rng = np.random.default_rng([seed, 1])
    centres = sample[rng.permutation(len(sample))[:count]].copy()
    for step in range(_STEPS):
        listener.progress("clustering", step, _STEPS)
        cluster = nearest(sample, np.arange(len(sample)), centres)
        sums = np.zeros(centres.shape)
        np.add.at(sums, cluster, sample)
        moved = as_float32(np.where(sums.any(axis=1, keepdims=True), sums, centres))
        if np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    return centres


def nearest(vectors: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return, for each of these rows, the centre with the largest cosine."""
    found = np.zeros(len(rows), np.int64)
    for at in range(0, len(rows), _ROWS):
        part = as_float32(vectors[rows[at : at + _ROWS]])
        found[at : at + _ROWS] = (part @ centres.T).argmax(axis=1)
    return found
