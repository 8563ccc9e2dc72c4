"""Which caption is chosen of a human, an edited and a boilerplate one.

    python benchmarks/best_caption.py --images TEST.tar --captions CAPTIONS --count 300 --folder F

For each image one of its human captions, the same with one word replaced so that it is untrue, and
a boilerplate alt text, in a random order, as columns of a parquet file. `pairsift score
--caption-field a,b,c` scores all three, `pairsift select --best-caption --by itm` chooses.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift import steps
from pairsift.evaluate.downstream.pool import _BOILERPLATE, _EDITS
from pairsift.options import ScoreOptions
from pairsift.select import read_selection, select
from pairsift.sources.image_store import ImageStore
from pairsift.teach import edits
from pairsift.teach.items import read_items
from pairsift.teach.lexicon import words

FIELDS = ("a", "b", "c")
KINDS = ("human", "edited", "boilerplate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--scorer", default="pairsift-tiny")
    parser.add_argument("--by", default="itm")
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    store = ImageStore(asked.images)
    rows = []
    for item in read_items(asked.captions, store):
        human = edits.pick(item.captions, rng)
        said = {word for text in item.captions for word in words(text)}
        swaps = (edits.swap(human, kind, said, rng) for kind in _EDITS)
        edited = next((text for text in swaps if text is not None), None)
        if edited is None:
            continue
        texts = [edits.restyle(human, rng), edits.restyle(edited, rng),
                 edits.pick(_BOILERPLATE, rng)]  # fmt: skip
        order = rng.permutation(3)
        row = {field: texts[place] for field, place in zip(FIELDS, order, strict=True)}
        kinds = [KINDS[place] for place in order]
        rows.append(row | {"image": store.read(item.image), "key": item.image, "kinds": kinds})
        if len(rows) == asked.count:
            break
    pool = asked.folder / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.drop_columns(["kinds"]), pool / "captions.parquet")
    options = ScoreOptions(shards=(str(pool),), scorer=asked.scorer, caption_field=",".join(FIELDS))
    scores, out = str(asked.folder / "scores"), str(asked.folder / "best")
    steps.score(options, steps.find_input(options.shards, options), scores)
    select(scores, best_caption=True, by=asked.by, out=out)
    chosen: Counter[str] = Counter()
    for shard in read_selection(out).shards():
        for row in shard.rows.tolist():
            chosen[rows[row // 3]["kinds"][row % 3]] += 1
    total = sum(chosen.values())
    print(f"{total} images: " + ", ".join(f"{k} {100 * chosen[k] / total:.1f} %" for k in KINDS))


if __name__ == "__main__":
    main()
