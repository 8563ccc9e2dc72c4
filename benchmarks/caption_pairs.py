"""Right and wrong captions of one split of Flickr8k, as a table for `pairsift evaluate pairs`.

    python benchmarks/caption_pairs.py --data DATA/flickr8k --split test --out pairs.csv
    pairsift evaluate pairs --pairs pairs.csv --scorer pairsift-tiny,dual-encoder --out out \\
        --images DATA/flickr8k/images_test_1000_expert_judged.tar

One caption per image, drawn by `--seed`, is paired with another image's caption and with changed
copies of itself: one word swapped, text broken, replaced by boilerplate, a detail added. The column
`asks` names the metric that should prefer the right one. A word of any of the image's five captions
is never put in, so a swapped word or a false detail is wrong according to five people. A true
detail comes from another of the captions, and then the longer caption is the right one.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pairsift.teach import edits
from pairsift.teach.lexicon import content_words, stem, words

SWAPPED = ("attribute", "count", "object")
BROKEN = ("shuffled", "truncated")


def read_captions(data: Path, split: str) -> dict[str, list[str]]:
    """Return the five captions of every image of a split whose picture exists."""
    table = pq.read_table(data / "captions_english.parquet", filters=[("split", "==", split)])
    own: dict[str, list[str]] = {}
    for row in table.to_pylist():
        if row["images_tar"]:
            own.setdefault(row["image_file"], []).append(row["caption_english"].strip())
    return own


def content(*texts: str) -> set[str]:
    """Return the stems of content words."""
    return {stem(word) for text in texts for word in content_words(text)}


def pairs(own: dict[str, list[str]], seed: int) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield rows of image, right, wrong, category, asks."""
    rng = np.random.default_rng(seed)
    names = sorted(own)
    for name in names:
        captions = own[name]
        caption = edits.pick(captions, rng)
        said, meant = set(words(" ".join(captions))), content(*captions)
        other = own[edits.pick([n for n in names if n != name], rng)]
        yield name, caption, edits.pick(other, rng), "another image's", "itm"
        for kind in SWAPPED:
            if (swapped := edits.swap(caption, kind, said, rng)) is not None:
                yield name, caption, swapped, f"{kind} swapped", "itm"
        for kind in BROKEN:
            yield name, caption, edits.corrupt(caption, kind, rng)[0], kind, "ctq"
        yield name, caption, edits.pick(edits.BOILERPLATE, rng), "boilerplate", "ctq"
        false = edits.detail_phrase(edits.pick(other, rng))
        if false is not None and content(false) and not meant & content(false):
            yield name, caption, edits.append_detail(caption, false), "false detail", "odf"
        for text in captions:
            true = edits.detail_phrase(text)
            if true is not None and content(true) - content(caption):
                yield name, edits.append_detail(caption, true), caption, "true detail", "odf"
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test", choices=["train", "dev", "test"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "right", "wrong", "category", "asks"])
        writer.writerows(pairs(read_captions(args.data, args.split), args.seed))


if __name__ == "__main__":
    main()
