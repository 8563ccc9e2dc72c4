"""Pictures of other domains than Flickr8k, and which of them are not trained on.

Of COCO-mini's photographs and tuxpaint's stamps three in ten are held out by a hash of the file
name, of the others one or two in sixteen.
"""

from __future__ import annotations

import csv
import hashlib
import re
import zlib
from pathlib import Path

import pyarrow.parquet as pq

TARS = {"coco": "coco_mini/images_239.tar", "stamps": "tuxpaint_stamps/images.tar"}
WEIGHT = 5.0
"""How often a picture of these counts in a fit beside the 6000 of Flickr8k."""


def is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % 10 < 3


def is_dev(name: str, domain: str) -> bool:
    """Whether `tower.py` isn't trained on a picture: by the first hex digit of its name's SHA-256.

    Of COCO-mini and the stamps `is_held_out` tells, as for the language model.
    """
    first = "01" if domain in ("clipart", "documentation") else "0"
    return hashlib.sha256(name.encode()).hexdigest()[0] in first


def coco_captions(data: Path, names: list[str]) -> list[list[str]]:
    """Return the five captions of every image, in the order of `names`."""
    own: dict[str, list[str]] = {name: [] for name in names}
    with (data / "coco_mini/captions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["image_file"] in own:
                own[row["image_file"]].append(row["caption"].strip())
    return [own[name][:5] for name in names]


def stamp_phrases(data: Path) -> dict[str, str]:
    """Return what each stamp shows, as a phrase ("a frog"); letters and digits are left out."""
    table = pq.read_table(
        data / "tuxpaint_stamps/captions_multilingual.parquet", filters=[("language", "=", "en")]
    )
    phrases = {}
    for row in table.to_pylist():
        if not row["category"].startswith("symbols/alphabets"):
            first = re.split(r"[.!?](?:\s|$)", row["caption"].strip())[0]
            text = re.sub(r"\s*\([^)]*\)", "", first).strip()
            if text:
                phrases[row["image_file"]] = text[0].lower() + text[1:]
    return phrases
