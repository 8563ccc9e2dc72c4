"""How clean is what a selection keeps of the noisy pool, with copies left in and with them removed.

    python benchmarks/noisy_pool.py --images A.tar B.tar --captions CAPTIONS --alt-text ALT \
        --scorer pairsift-tiny --shards 12 --folder F

The pool is the one of `pairsift evaluate downstream`: of each image four pairs, 40 % of them clean.
It is scored with ``--hashes``, `pairsift dedup` groups it, and the share of clean pairs is counted
among the best 30 % by itm: of all rows, and of the rows that are left when each group of copies is
represented by its best. A smaller selection is cleaner in any case, so each is compared with as
many of the best rows with copies left in, and made once more as large as 30 % of the pool, as far
as the rows that are left suffice.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairsift import load_scorer
from pairsift.dedup import dedup
from pairsift.engines.local import score_shards
from pairsift.evaluate.downstream.pool import PoolSettings, build_pool
from pairsift.intervals import binomial_bounds
from pairsift.select import Selection, read_selection, select
from pairsift.sources import find_shards
from pairsift.sources.image_store import ImageStore
from pairsift.teach.items import read_alt_text, read_items


def clean_share(selection: Selection, kinds: dict[tuple[str, str], str]) -> tuple[float, int, int]:
    """Share of clean pairs, of near-duplicates, and rows."""
    found = []
    for shard in read_selection(selection.path or "").shards():
        found += [kinds[shard.shard, key] for key in shard.table(["key"])["key"].to_pylist()]
    return found.count("own") / len(found), found.count("near_duplicate"), len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--alt-text", required=True)
    parser.add_argument("--scorer", default="pairsift-tiny")
    parser.add_argument("--metrics", default="itm")
    parser.add_argument("--shards", type=int, default=1000, help="score only the first of them")
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--by", default="itm")
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    images = ImageStore(asked.images)
    items = read_items(asked.captions, images)
    build_pool(items, images, read_alt_text(asked.alt_text), str(asked.folder), PoolSettings())
    shards = sorted((asked.folder / "pool").glob("*.tar"))[: asked.shards]
    scores = str(asked.folder / "scores")
    scorer = load_scorer(asked.scorer, hashes=True, metrics=asked.metrics)
    score_shards(find_shards([str(path) for path in shards]), scorer, scores, workers=0)
    labels = pq.read_table(asked.folder / "labels.parquet").to_pylist()
    kinds = {(row["shard"], row["key"]): row["kind"] for row in labels}
    out = str(asked.folder / "kept")

    def keep(name: str, **options: Any) -> int:
        made = select(scores, by=asked.by, out=out, **options)
        share, near, rows = clean_share(made, kinds)
        low, high = binomial_bounds(round(share * rows), rows)
        left = made.record.rows - sum(d.rows for d in made.record.dropped if "copy" in d.reason)
        print(f"{name}: {left:,} rows left, {rows:,} kept, {100 * share:.1f} % clean "
              f"[{100 * low:.1f}, {100 * high:.1f}], {near:,} near-duplicates")  # fmt: skip
        return rows

    whole = keep("copies left in", top=asked.keep)
    for on in ("image", "caption", "both"):
        copies = str(asked.folder / f"copies-{on}")
        dedup(scores, copies, on=on)
        thin: dict[str, Any] = {"groups": copies, "per_group": 1}
        rows = keep(f"best of each {on}", top=asked.keep, **thin)
        keep("  as many, copies left in", count=rows)
        rows = keep("  as large as the first", count=whole, **thin)
        keep("  as many, copies left in", count=rows)


if __name__ == "__main__":
    main()
