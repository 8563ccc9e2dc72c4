r"""All pictures that a tower may learn from: pixels, captions, judged pairs, dev part.

    python training/pictures.py --data ../shared/data --photographs photographs.tar \
        --weights WEIGHTS --cache CACHE

Writes to CACHE: `pictures.parquet` (one row per picture), `pictures.pixels.npy` (uint8, 224 x 224
x 3, squashed as the scorer does), `texts.parquet` with `texts.vectors.npy` (MiniLM, unit length,
float16; one row per distinct text), `center.npy` (the mean of Flickr8k's train captions) and
`pairs.parquet` (picture, text, score 0..100; judged by a large model that looked). Flickr8k test
images and judgments of people are never opened.

Dev pictures, for choosing: Flickr8k's dev split; the held-out part of `domains.py`; of other
domains those whose name's SHA-256 begins with 0 (clip art and documentation, being few: 0 or 1).
Of `photographs.py`'s none, so that figures stay comparable with those before them.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pairsift.scorers.mlm.tiny.preprocess import TRAINING_SIDE
from PIL import Image

import domains
import photographs
from candidates import read_captions
from features import TARS, members
from judged import FILE as JUDGED
from weights import SentenceEncoder

KINDS = ("object", "attribute", "count", "relation", "action", "scene")


@dataclass
class Picture:
    """One picture. `own` are true captions, best to measure with first; `beyond` says what no pixel
    shows; `wrong` is false in one thing of the kind `wrong_kind`."""

    domain: str
    name: str
    dev: bool
    own: list[str]
    beyond: list[str] = field(default_factory=list)
    wrong: str = ""
    wrong_kind: str = ""


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _described(folder: Path, domain: str) -> Iterator[Picture]:
    for row in _rows(folder / "captions.csv"):
        own = [row[f"caption_{kind}"] for kind in ("plain", "other", "detailed")]
        name = row["image_file"]
        wrong = row["caption_wrong"], row["wrong_kind"]
        yield Picture(domain, name, domains.is_dev(name, domain), own, [], *wrong)


def _photographs() -> Iterator[Picture]:
    for row in photographs.rows(photographs.FILE):
        own = [row["caption_plain"], row["caption_detailed"]]
        wrong = row["caption_wrong"], row["wrong_kind"]
        yield Picture("web", row["image_file"], False, own, [], *wrong)


def _textbook(folder: Path) -> Iterator[Picture]:
    for row in _rows(folder / "captions.csv"):
        domain = "photograph" if row["photo_like"] in ("1", "True", "true") else "diagram"
        own = list(dict.fromkeys([row["alt_first_sentence"], row["alt"]]))
        beyond = [row["figure_caption"]] if row["figure_caption"] else []
        name = row["image_file"]
        yield Picture(
            domain, name, domains.is_dev(name, domain), [text for text in own if text], beyond
        )


def _clipart(folder: Path) -> Iterator[Picture]:
    for row in _rows(folder / "alt_text.csv"):
        name, text = row["image_file"], row["alt_text_from_original_file_name"]
        words = [w for w in text.replace("-", "_").split("_") if w.isalpha()]
        kind = row["category"].replace("/", " ").replace("_", " ")
        own = [text, f"{' '.join(words)}, {kind}"]
        yield Picture("clipart", name, domains.is_dev(name, "clipart"), own)


def _documentation(folder: Path) -> Iterator[Picture]:
    own: dict[str, list[str]] = {}
    for row in _rows(folder / "alt_text.csv"):
        if row["alt_text"].strip():
            own.setdefault(row["image_file"], []).append(row["alt_text"].strip())
    for name, texts in own.items():
        dev = domains.is_dev(name, "documentation")
        yield Picture("documentation", name, dev, list(dict.fromkeys(texts)))


def read_pictures(data: Path, more: Path) -> Iterator[tuple[Picture, bytes]]:
    """Every picture that has a caption, with its file's bytes; `more` is `photographs.py`'s tar."""
    for split, tars in TARS.items():
        images = dict(members([data / tar for tar in tars]))
        for name, own in zip(images, read_captions(data, split, list(images)), strict=True):
            yield Picture("flickr8k", name, split == "dev", own), images[name]
    tables = {
        "coco_described/images_5000.tar": _described(data / "coco_described", "coco"),
        "web_described/images_3177.tar": _described(data / "web_described", "web"),
        "textbook_figures/images_2381.tar": _textbook(data / "textbook_figures"),
        "openclipart/images_1000.tar": _clipart(data / "openclipart"),
        "documentation_alt_text/images.tar": _documentation(data / "documentation_alt_text"),
    }
    for tar, pictures in tables.items():
        images = dict(members([data / tar]))
        yield from ((picture, images[picture.name]) for picture in pictures)
    images = dict(members([more]))
    yield from ((p, images[p.name]) for p in _photographs() if p.name in images)
    phrases = domains.stamp_phrases(data)
    for domain, tar in domains.TARS.items():
        images = dict(members([data / tar]))
        names = [name for name in images if domain != "stamps" or name in phrases]
        if domain == "coco":
            own_of = domains.coco_captions(data, names)
        else:
            own_of = [[phrases[name]] for name in names]
        label = {"coco": "coco_mini"}.get(domain, domain)
        for name, own in zip(names, own_of, strict=True):
            yield Picture(label, name, domains.is_held_out(name), own), images[name]


def squashed(image: bytes) -> np.ndarray:
    """The picture as uint8 (224, 224, 3)."""
    side = (TRAINING_SIDE, TRAINING_SIDE)
    rgb = Image.open(io.BytesIO(image)).convert("RGB")
    return np.asarray(rgb.resize(side, Image.Resampling.BICUBIC, reducing_gap=3.0))


def read_pairs(
    data: Path, place: dict[str, int], pictures: Sequence[Picture]
) -> Iterator[tuple[int, str, float]]:
    """Picture, caption and score of all files of scored pairs."""
    for row in chain(photographs.rows(JUDGED), photographs.rows(photographs.JUDGED)):
        of = place.get(row["caption_of"])
        if row["image_file"] in place and of is not None:  # a photograph may be missing
            number = row["caption_number"]
            text = pictures[of].wrong if number == "wrong" else pictures[of].own[int(number)]
            yield place[row["image_file"]], text, float(row["score"])
    for row in photographs.rows(data / "judged_near_misses.csv.gz"):
        yield place[row["image_file"]], row["caption"], float(row["score"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "photographs", "weights", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    cache: Path = args.cache
    cache.mkdir(parents=True, exist_ok=True)

    pictures, files = zip(*read_pictures(args.data, args.photographs), strict=True)
    place = {picture.name: row for row, picture in enumerate(pictures)}
    pairs = list(read_pairs(args.data, place, pictures))
    texts = [t for p in pictures for t in (*p.own, *p.beyond, p.wrong)] + [p[1] for p in pairs]
    number = {text: row for row, text in enumerate(dict.fromkeys(texts))}

    pq.write_table(
        pa.table(
            {
                "domain": [p.domain for p in pictures],
                "name": [p.name for p in pictures],
                "dev": [p.dev for p in pictures],
                "own": [[number[t] for t in p.own] for p in pictures],
                "beyond": [[number[t] for t in p.beyond] for p in pictures],
                "wrong": [number[p.wrong] if p.wrong else -1 for p in pictures],
                "wrong_kind": [p.wrong_kind for p in pictures],
            }
        ),
        cache / "pictures.parquet",
    )
    pq.write_table(pa.table({"text": list(number)}), cache / "texts.parquet")
    columns = zip(*pairs, strict=True)
    image, text, score = columns
    rows = {"image": image, "text": [number[t] for t in text], "score": score}
    pq.write_table(pa.table(rows), cache / "pairs.parquet")
    print(f"{len(pictures)} pictures, {len(number)} texts, {len(pairs)} judged pairs", flush=True)

    shape = (len(files), TRAINING_SIDE, TRAINING_SIDE, 3)
    pixels = np.lib.format.open_memmap(cache / "pictures.pixels.npy", "w+", np.uint8, shape)
    with ThreadPoolExecutor(2) as pool:
        for row, image in enumerate(pool.map(squashed, files)):
            pixels[row] = image
    pixels.flush()
    print("pixels done", flush=True)
    vectors = SentenceEncoder(args.weights)(list(number))
    np.save(cache / "texts.vectors.npy", vectors.astype(np.float16))
    seen = [p.own for p in pictures if p.domain == "flickr8k" and not p.dev]
    np.save(cache / "center.npy", vectors[[number[t] for own in seen for t in own]].mean(0))


if __name__ == "__main__":
    main()
