"""Whether the images of a test set are found in a pool after re-encoding, and what else is marked.

    python benchmarks/contamination.py --set TEST.tar --pool A.tar B.tar --others CIFAR.parquet \
        --folder F

The pool holds the images of `--pool`, which are none of the set, and each image of the set three
times: as JPEG of quality 30, at half the size, and cropped by 3 %. `pairsift score --scorer hashes`
and `pairsift dedup --against` should find all images of the set, and mark none of the others.
`--others` are further sets, none of whose images is in the pool.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from copies import KINDS, jpeg, read_images, score

from pairsift.dedup import dedup, write_hash_list
from pairsift.images import decode_image

PLANTED = {"q30": "JPEG, quality 30", "half": "resized by 0.5", "crop": "cropped by 3 %"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--set", required=True)
    parser.add_argument("--pool", nargs="+", required=True)
    parser.add_argument("--images", type=int, default=10_000, help="of the pool")
    parser.add_argument("--others", nargs="*", default=[])
    parser.add_argument("--distances", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    pool = {f"other-{n}": data for n, data in enumerate(read_images(asked.pool, asked.images))}
    others = len(pool)
    test = read_images([asked.set], 1_000_000)
    for number, content in enumerate(test):
        image, _ = decode_image(content)
        for name, kind in PLANTED.items():
            edit, quality = KINDS[kind]
            pool[f"{name}-{number}"] = jpeg(edit(image, rng), quality)
    scores = score("contaminated", asked.folder, pool)
    made = write_hash_list([asked.set], asked.folder / "set.parquet", "set")
    print(f"{made.images:,} images of the set, {others:,} other images in the pool")
    for distance in asked.distances:
        for against in (str(asked.folder / "set.parquet"), *asked.others):
            out = str(asked.folder / "marks")
            found: Any = dedup(scores, out, on="none", against=[against], distance=distance)
            marks = pq.read_table(f"{out}/marks.parquet")["key"].to_pylist()
            counts = Counter(key.split("-")[0] for key in marks)
            planted = ", ".join(
                f"{100 * counts[name] / len(test):.1f} % of {kind}"
                for name, kind in PLANTED.items()
            )
            print(
                f"{found.sets[0]['set']}, {distance} bits: {found.sets[0]['found']:,} of "
                f"{found.sets[0]['images']:,} images found; marked: {planted}; "
                f"{counts['other']} others ({100 * counts['other'] / others:.3f} %)",
                flush=True,
            )


if __name__ == "__main__":
    main()
