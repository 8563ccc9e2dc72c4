"""How often captions are marked as out of the scope English, by their real language.

    python -m benchmarks.languages --data ../shared/data

All captions are from training splits, with which the rule was chosen: Flickr8k's in five languages,
the short ones of clip art in 25, and alt texts of LAION, whose language is unknown (`--show` prints
the marked ones).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pairsift.scorers.scope import Scope, judge_caption

sys.path.append(str(Path(__file__).parents[1] / "training"))
import domains  # the same split into trained and held out as in training

ENGLISH = Scope(("en",))
TRAIN = [("split", "=", "train")]
MULTI30K = "flickr8k/captions_english_german_french_czech_multi30k.parquet"
FLICKR = {
    "en": ("flickr8k/captions_english.parquet", "caption_english"),
    "zh": ("flickr8k/captions_chinese.parquet", "caption_chinese"),
    "de": (MULTI30K, "caption_german"),
    "fr": (MULTI30K, "caption_french"),
    "cs": (MULTI30K, "caption_czech"),
}


def caption_sets(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield names of the sets and their captions."""
    for language, (path, column) in FLICKR.items():
        yield f"flickr8k {language}", pq.read_table(data / path, filters=TRAIN)[column].to_pylist()
    stamps: dict[str, list[str]] = {}
    table = pq.read_table(data / "tuxpaint_stamps/captions_multilingual.parquet")
    for row in table.to_pylist():
        if not domains.is_held_out(row["image_file"]) and "alphabets" not in row["category"]:
            stamps.setdefault(row["language"], []).append(row["caption"])
    for language in sorted(stamps):
        yield f"stamps {language}", stamps[language]
    laion = pq.read_table(data / "web_alt_text_only/laion_sample.parquet")
    yield "laion", laion["alt_text"].to_pylist()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="print marked alt texts")
    options = parser.parse_args(arguments)
    for name, captions in caption_sets(options.data):
        begin = time.perf_counter()
        marked = [text for text in captions if judge_caption(text, ENGLISH).reason is not None]
        each = 1e6 * (time.perf_counter() - begin) / len(captions)
        share = 100 * len(marked) / len(captions)
        print(f"{name:12} {len(marked):6,} of {len(captions):6,} {share:7.2f} %  {each:4.0f} us")
        if options.show and name == "laion":
            print("\n".join(marked))


if __name__ == "__main__":
    main()
