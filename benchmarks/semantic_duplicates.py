"""Semantic duplicates of real images, compared with exact cosines of numpy.

    python benchmarks/semantic_duplicates.py --images A.tar --captions CAPTIONS --count 1500 \
        --clusters 9 --folder F

One pair of each image is scored by `dual-encoder` with ``--embeddings``. Of all pairs of images,
those within a cluster whose cosine is above the threshold are compared with what was found; those
in different clusters are what k-means costs.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pairsift import load_scorer
from pairsift.embeddings import IMAGE
from pairsift.engines.local import score_shards
from pairsift.progress import NullListener
from pairsift.similarity.semantic import k_means, nearest, semantic_duplicates
from pairsift.similarity.vectors import as_float32, embedded_tables
from pairsift.sources import find_shards
from pairsift.sources.image_store import ImageStore
from pairsift.teach.items import read_items


def write_pool(images: list[str], captions: str, count: int, path: Path) -> None:
    """Write a tar with one pair of each image."""
    store = ImageStore(images)
    with tarfile.open(path, "w") as tar:
        for item in read_items(captions, store)[:count]:
            key = item.image.rsplit(".", 1)[0]
            members = ((f"{key}.jpg", store.read(item.image)),
                       (f"{key}.txt", item.captions[0].encode()))  # fmt: skip
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def components(count: int, a: np.ndarray, b: np.ndarray) -> list[int]:
    """Return for each row the smallest row of its component."""
    root = list(range(count))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        low, high = sorted((find(one), find(other)))
        root[high] = low
    return [find(row) for row in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 9])
    parser.add_argument("--epsilon", type=float, nargs="+", default=[0.05, 0.15])
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    pool, scores = asked.folder / "pool.tar", str(asked.folder / "scores")
    if not pool.exists():
        write_pool(asked.images, asked.captions, asked.count, pool)
    scorer = load_scorer("dual-encoder", embeddings=True)
    score_shards(find_shards(str(pool)), scorer, scores, workers=0)
    (table,) = embedded_tables(scores)
    made, keys = table.read(), table.rows()["key"].to_pylist()
    ok = np.flatnonzero(made.ok)
    vectors = as_float32(made.vectors[IMAGE][ok])
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    for epsilon in asked.epsilon:
        a, b = np.nonzero(np.tril(cosines, -1) > 1 - epsilon)
        for clusters in asked.clusters:
            out = str(asked.folder / f"alike-{clusters}-{epsilon}")
            begin = time.perf_counter()
            found = semantic_duplicates(scores, out, epsilon=epsilon, clusters=clusters)
            seconds = time.perf_counter() - begin
            centres = k_means(vectors, clusters, 0, NullListener())
            cluster = nearest(vectors, np.arange(len(vectors)), centres)
            inside = cluster[a] == cluster[b]
            roots = components(len(vectors), a[inside], b[inside])
            sizes = np.bincount(roots, minlength=len(roots))
            exact = {keys[row]: keys[ok[root]] for row, root in zip(ok, roots, strict=True)
                     if sizes[root] > 1}  # fmt: skip
            first: dict[str, str] = {}
            groups = {}
            for row in pq.read_table(f"{out}/groups.parquet").to_pylist():
                groups[row["key"]] = first.setdefault(row["group"], row["key"])
            print(f"epsilon {epsilon}, {clusters} clusters: {found.pairs:,} pairs found, "
                  f"{int(inside.sum()):,} by exact cosine in the clusters, {len(a):,} in all; "
                  f"{found.groups:,} groups, the same as exact: {groups == exact}; "
                  f"{seconds:.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
