"""Agreement with people by language, and right against wrong captions by domain and language.

    OMP_NUM_THREADS=1 nice -n 5 python -m benchmarks.slices --data ../shared/data --out out/slices

Two tables of real data are written, and measured like a user's own tables:

- ``captions.parquet``: image, caption, language, domain, for `pairsift evaluate pairs --draw-wrong
  --by domain+language`. Domains: ``flickr8k``, test images with one caption each, the same in five
  languages (German, French and Czech of Multi30k, Chinese of Flickr8k-CN, all translated by
  people); ``stamps``, clip art and cut-out photographs, each with a short caption in up to 25
  languages; ``documentation``, screenshots, diagrams and photographs with their real alt texts;
  ``openclipart``, clip art with the original file name as caption; ``clothing``, product
  photographs as "a photo of a dress". `pairsift-tiny` was trained on none of these images; those
  of stamps, documentation and clip art were used to choose it.
- ``judgments.parquet``: Flickr8k-CF's judgments of English captions, and of the same captions in
  the other languages, for `pairsift evaluate human --protocol csv --by language`. People judged the
  English captions; the translations are assumed to mean the same.

Scores are cached below OUT, so another scorer or checkpoint (`--scorer`) costs only its own time.
The data may be used but not redistributed: do not put it into a repository.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.evaluate.human import evaluate_human
from pairsift.evaluate.pairs import evaluate_pairs
from pairsift.evaluate.protocols import Request
from pairsift.evaluate.run import Options
from pairsift.sources.image_store import ImageStore

sys.path.append(str(Path(__file__).parents[1] / "training"))
import domains  # the same split into trained and held out as in training

Row = dict[str, Any]

FLICKR_IMAGES = "flickr8k/images_test_1000_expert_judged.tar"
DOCUMENTATION_IMAGES = "documentation_alt_text/images.tar"
OPENCLIPART_IMAGES = "openclipart/images_1000.tar"
CLOTHING = "classification/clothing_test_and_validation.parquet"
IMAGES = (
    FLICKR_IMAGES, domains.TARS["stamps"], DOCUMENTATION_IMAGES, OPENCLIPART_IMAGES, CLOTHING,
)  # fmt: skip
LETTERS = "symbols/alphabets"
TRANSLATED = "human translation of the English caption of the same number"
LANGUAGES = {"de": "caption_german", "fr": "caption_french", "cs": "caption_czech"}

Sentences = Mapping[tuple[str, int], Mapping[str, str]]
"""A caption in every language, by image and caption number."""


def flickr_sentences(data: Path) -> Sentences:
    """Return the captions of Flickr8k's test images that exist in all five languages."""
    test = [("split", "=", "test")]
    folder = data / "flickr8k"
    sentences: dict[tuple[str, int], dict[str, str]] = {}
    number_of: dict[tuple[str, str], int] = {}
    for row in pq.read_table(folder / "captions_english.parquet", filters=test).to_pylist():
        place = row["image_file"], row["caption_number"]
        sentences[place] = {"en": row["caption_english"]}
        number_of[place[0], _letters(row["caption_english"])] = place[1]
    for row in pq.read_table(folder / "captions_chinese.parquet", filters=test).to_pylist():
        if row["how_written"] == TRANSLATED:
            sentences[row["image_file"], row["caption_number"]]["zh"] = row["caption_chinese"]
    multi = folder / "captions_english_german_french_czech_multi30k.parquet"
    for row in pq.read_table(multi, filters=test).to_pylist():
        number = number_of.get((row["image_file"], _letters(row["caption_english"])))
        if number is not None:
            own = sentences[row["image_file"], number]
            own |= {language: row[column] for language, column in LANGUAGES.items()}
    complete = 2 + len(LANGUAGES)
    return {place: found for place, found in sentences.items() if len(found) == complete}


def _letters(caption: str) -> str:
    """Return what does not depend on the spaces and points of a copy of the data."""
    return re.sub(r"[^a-z0-9]", "", caption.lower())


def flickr_captions(data: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Yield one caption per image in every language."""
    sentences = flickr_sentences(data)
    first: dict[str, tuple[str, int]] = {}
    for place in sorted(sentences):
        first.setdefault(place[0], place)
    for image in _some(first, limit, rng):
        for language, caption in sentences[first[image]].items():
            yield _row("flickr8k", image, caption, language)


def stamp_captions(data: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Yield held-out stamps except pictures of letters and digits."""
    table = pq.read_table(data / "tuxpaint_stamps/captions_multilingual.parquet")
    rows = [
        row
        for row in table.to_pylist()
        if domains.is_held_out(row["image_file"]) and not row["category"].startswith(LETTERS)
    ]
    chosen = set(_some({row["image_file"] for row in rows}, limit, rng))
    for row in rows:
        if row["image_file"] in chosen:
            yield _row("stamps", row["image_file"], row["caption"], row["language"])


def documentation_captions(data: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Yield alt texts of pictures kept aside; a translated page's path names its language."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in _csv_rows(data / "documentation_alt_text/alt_text.csv"):
        if not domains.is_dev(row["image_file"], "documentation"):
            continue
        translated = re.search(r"_articles/([A-Za-z-]+)/", row["page_path"])
        language = translated[1] if translated else "en"
        key = row["image_file"], row["alt_text"], language
        found[key] = _row("documentation", *key)
    chosen = set(_some({image for image, _, _ in found}, limit, rng))
    yield from (row for (image, _, _), row in found.items() if image in chosen)


def openclipart_captions(data: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Yield file names, in any language, of pictures kept aside."""
    rows = _csv_rows(data / "openclipart/alt_text.csv")
    names = {
        row["image_file"]: row["alt_text_from_original_file_name"]
        for row in rows
        if domains.is_dev(row["image_file"], "clipart")
    }
    folder = Path(OPENCLIPART_IMAGES).stem  # the stamps have images of the same names
    for image in _some(names, limit, rng):
        yield _row("openclipart", f"{folder}/{image}", names[image], "")


def clothing_captions(data: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Yield classes as captions."""
    table = pq.read_table(data / CLOTHING, columns=["image_file", "class_name"])
    classes = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    for image in _some(classes, limit, rng):
        yield _row("clothing", image, f"a photo of a {classes[image]}", "en")


def judgments(data: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Yield judged captions in every language."""
    sentences = flickr_sentences(data)
    rows = [
        row
        for row in _csv_rows(data / "flickr8k/human_judgments_crowdflower.csv.gz")
        if (row["caption_source_image_file"], int(row["caption_number"])) in sentences
    ]
    chosen = set(_some({row["image_file"] for row in rows}, limit, rng))
    for row in rows:
        if row["image_file"] in chosen:
            place = row["caption_source_image_file"], int(row["caption_number"])
            for language, caption in sentences[place].items():
                yield {
                    "image": row["image_file"],
                    "caption": caption,
                    "score": float(row["yes_fraction"]),
                    "language": language,
                }


def _row(domain: str, image: str, caption: str, language: str) -> Row:
    return {"image": image, "caption": caption, "language": language, "domain": domain}


def _csv_rows(path: Path) -> list[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _some(names: Iterable[str], count: int, rng: random.Random) -> list[str]:
    ordered = sorted(names)
    return sorted(rng.sample(ordered, min(count, len(ordered))))


def digest(rows: Sequence[Row], images: ImageStore) -> str:
    """Return a digest of the rows and of the images that they name."""
    found = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode())
    for name in sorted({row["image"] for row in rows}):
        found.update(hashlib.sha256(images.read(name)).digest())
    return f"sha256:{found.hexdigest()[:16]}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scorer", default="pairsift-tiny,dual-encoder", help="by commas")
    parser.add_argument("--columns", default="itm,dual_encoder", help="score columns, by commas")
    parser.add_argument("--limit", type=int, default=150, help="images of a domain")
    parser.add_argument("--judged", type=int, default=80, help="images of the human judgments")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    options.out.mkdir(parents=True, exist_ok=True)
    makers = (
        flickr_captions, stamp_captions, documentation_captions, openclipart_captions,
        clothing_captions,
    )  # fmt: skip
    captions = [
        row
        for make in makers
        for row in make(options.data, options.limit, random.Random(options.seed))
    ]
    judged = list(judgments(options.data, options.judged, random.Random(options.seed)))
    places = [str(options.data / place) for place in IMAGES]
    store = ImageStore(places)
    for name, rows in (("captions", captions), ("judgments", judged)):
        pq.write_table(pa.Table.from_pylist(rows), options.out / f"{name}.parquet")
        sizes: dict[str, int] = defaultdict(int)
        for row in rows:
            sizes[row.get("domain", "judgments")] += 1
        told = ", ".join(f"{count} {domain}" for domain, count in sizes.items())
        print(f"{name}: {told}; {digest(rows, store)}", flush=True)

    asked = Options(
        scorers=options.scorer.split(","),
        images=places,
        columns=[*options.columns.split(",")],
        resamples=options.resamples,
        seed=options.seed,
    )
    out = str(options.out)
    right = evaluate_pairs(
        f"{out}/captions.parquet", f"{out}/pairs", asked, by=["domain+language"], draw=True
    )
    request = Request(f"{out}/judgments.parquet", by=["language"])
    human = evaluate_human("csv", request, f"{out}/human", asked)
    print(f"\n{right.markdown()}\n{human.markdown()}")
    for evaluation in (right, human):
        for name, facts in evaluation.scorers.items():
            print(f"{name}: {facts['scored_now']:,} pairs scored in {facts['seconds']:,.0f} s")


if __name__ == "__main__":
    main()
