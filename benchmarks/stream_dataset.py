"""Score a streaming Hugging Face dataset of 2,000 real pairs, three of them damaged; watch memory.

    python benchmarks/stream_dataset.py --images images_dev_1000.tar \
        --captions captions_english.parquet --caption-column caption_english \
        --work /tmp/stream --scorer pairsift-tiny

The captions' table has a column `image_file`; the tar holds the images by that name.
Prints one JSON line every 200 pairs (resident memory, in MB), and one with the statuses.
"""

from __future__ import annotations

import argparse
import json
import struct
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import psutil
import pyarrow.parquet as pq

from pairsift.integrations.datasets import score_dataset

PER_FILE = 250


def write_shards(images: str, captions: str, column: str, folder: Path, count: int) -> list[str]:
    """Write the pairs, two captions per image, as parquet files; three of the images are
    damaged.
    """
    texts: dict[str, list[str]] = {}
    table = pq.read_table(captions, columns=["image_file", column]).to_pydict()
    for name, caption in zip(table["image_file"], table[column], strict=True):
        texts.setdefault(name, []).append(caption)
    rows: list[dict[str, Any]] = []
    with tarfile.open(images) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None or len(rows) >= count:
                continue
            image = {"bytes": file.read(), "path": member.name}
            rows += [{"image": image, "caption": text} for text in texts.get(member.name, [])[:2]]
    hurt = {
        1 / 4: {"bytes": rows[0]["image"]["bytes"][:1500], "path": "cut short"},
        2 / 4: None,
        3 / 4: {"bytes": _declared(65_535), "path": "65535 x 65535 pixels declared"},
    }
    for share, image in hurt.items():
        rows[int(share * len(rows))]["image"] = image
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for start in range(0, len(rows), PER_FILE):
        path = folder / f"{start:05d}.parquet"
        part = datasets.Dataset.from_list(rows[start : start + PER_FILE], features=features)
        part.to_parquet(path)
        paths.append(str(path))
    return paths


def _declared(side: int) -> bytes:
    """Return a BMP that has only a header."""
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--images", "--captions", "--work"):
        parser.add_argument(option, required=True)
    parser.add_argument("--caption-column", default="caption")
    parser.add_argument("--scorer", default="pairsift-tiny")
    parser.add_argument("--count", type=int, default=2000)
    given = parser.parse_args()
    paths = write_shards(
        given.images, given.captions, given.caption_column, Path(given.work), given.count
    )
    stream = datasets.load_dataset("parquet", data_files=paths, split="train", streaming=True)
    scored = score_dataset(stream, given.scorer).decode(False)
    statuses: Counter[str] = Counter()
    process, began = psutil.Process(), time.perf_counter()
    for seen, row in enumerate(scored, start=1):
        statuses[row["status"]] += 1
        if seen % 200 == 0:
            seconds = round(time.perf_counter() - began, 1)
            memory = process.memory_info().rss >> 20
            print(json.dumps({"pairs": seen, "seconds": seconds, "rss_mb": memory}), flush=True)
    print(json.dumps({"pairs": sum(statuses.values()), "statuses": statuses}))


if __name__ == "__main__":
    main()
