"""Read everything that ``pairsift write`` wrote with the packages that people read it with.

    .venv-outside-readers/bin/python -m tests.outside.read_back build/outside

Each reader must find the same keys, captions and scores, and decode every image.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import lance
import numpy as np
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import webdataset

from tests.outside.pool import Made, versions

#: What a reader found of a sample: caption, itm, and the size of the decoded image.
Found = dict[str, tuple[str, float, tuple[int, int]]]
IMAGES = ("jpg", "png")
TEXT, SCORE = datasets.Value("string"), datasets.Value("float32")
FIELDS = {
    **{name: datasets.Image() for name in IMAGES},
    "txt": TEXT,
    "json": {"uid": TEXT, "caption": TEXT, "key": TEXT, "itm": SCORE, "odf": SCORE},
    "__key__": TEXT,
    "__url__": TEXT,
}


def of_sample(sample: dict[str, Any]) -> tuple[str, float, tuple[int, int]]:
    """Return what is compared of a sample of a tar."""
    fields = sample["json"]
    image = next(sample[name] for name in IMAGES if sample.get(name) is not None)
    return sample["txt"], float(np.float32(fields["itm"])), image.size  # JSON has its digits


def by_webdataset(tars: list[str]) -> Found:
    """Read tars with webdataset."""
    pipeline = webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
    return {sample["__key__"]: of_sample(sample) for sample in pipeline}


def by_datasets(tars: list[str], streaming: bool) -> Found:
    """Read tars with ``load_dataset("webdataset")``.

    It takes the fields from the first samples, and drops images of other types: they are named.
    """
    rows = load("webdataset", tars, streaming, features=datasets.Features(FIELDS))
    return {row["__key__"]: of_sample(row) for row in rows}


def load(kind: str, files: list[str], streaming: bool, **options: Any) -> Iterable[dict[str, Any]]:
    """Load one split and leave nothing in the cache of the user."""
    with tempfile.TemporaryDirectory() as cache:
        yield from datasets.load_dataset(
            kind, data_files=files, split="train", streaming=streaming, cache_dir=cache, **options
        )


def by_load_dataset(folder: Path, streaming: bool) -> Found:
    """Read the folder of ``--dataset``."""
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset(
            str(folder), split="train", streaming=streaming, cache_dir=cache
        )
        return {row["key"]: (row["caption"], row["itm"], row["image"].size) for row in rows}


def by_imagefolder(tars: list[str], kept: Path) -> Found:
    """Unpack tars, put the kept rows beside the images as metadata, and read the folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "train"
        for tar in tars:
            with tarfile.open(tar) as file:
                file.extractall(folder, filter="data")
        names = {path.stem: path.name for path in folder.iterdir() if path.suffix[1:] in IMAGES}
        rows = polars.read_parquet(kept)
        rows = rows.with_columns(file_name=polars.col("key").replace_strict(names))
        rows.write_parquet(folder / "metadata.parquet")
        found = datasets.load_dataset(
            "imagefolder", data_dir=name, split="train", cache_dir=Path(name) / "cache"
        )
        return {
            row["key"]: ((folder / f"{row['key']}.txt").read_text(), row["itm"], row["image"].size)
            for row in found
        }


def by_lance(folder: Path) -> Found:
    """Copy the files of ``--dataset`` into Lance and read them there."""
    import io

    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        files = pyarrow.dataset.dataset(folder / "data", format="parquet")
        lance.write_dataset(files.to_batches(), f"{name}/kept.lance", schema=files.schema)
        rows = lance.dataset(f"{name}/kept.lance").to_table().to_pylist()
    return {
        row["key"]: (row["caption"], row["itm"], Image.open(io.BytesIO(row["image"]["bytes"])).size)
        for row in rows
    }


def tables(kept: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Read the kept rows, which hold no images, with each reader of tables."""
    table = pq.read_table(kept, columns=["key", "itm"])
    yield "pyarrow", pairs(table)
    frame = polars.read_parquet(kept)
    yield "polars", dict(zip(frame["key"], frame["itm"], strict=True))
    for streaming in (False, True):
        rows = load("parquet", [str(kept)], streaming)
        yield f"datasets, streaming {streaming}", {row["key"]: row["itm"] for row in rows}
    with tempfile.TemporaryDirectory() as name:
        lance.write_dataset(pq.read_table(kept), f"{name}/kept.lance")
        yield "Lance", pairs(lance.dataset(f"{name}/kept.lance").to_table(["key", "itm"]))
        with pa.ipc.new_file(f"{name}/kept.arrow", table.schema) as writer:
            writer.write_table(table)
        with pa.memory_map(f"{name}/kept.arrow") as source:
            yield "Arrow IPC", pairs(pa.ipc.open_file(source).read_all())


def pairs(table: pa.Table) -> dict[str, float]:
    """Return the scores by key."""
    return dict(zip(table["key"].to_pylist(), table["itm"].to_pylist(), strict=True))


def main(folder: str) -> None:
    """Read with everything and compare."""
    made = Made(Path(folder).absolute())
    kept = made.written("kept.parquet")
    scores = pairs(pq.read_table(kept, columns=["key", "itm"]))
    for reader, found in tables(kept):
        assert found == scores, (reader, found)
        print(f"kept.parquet with {reader}: {len(found)} rows")
    tars = [str(path) for path in sorted(made.written("webdataset").glob("*.tar"))]
    buckets = [str(path) for path in sorted(made.written("buckets").glob("*/*.tar"))]
    dataset = made.written("dataset")
    ways: dict[str, Found] = {
        "tars with webdataset": by_webdataset(tars),
        "buckets with webdataset": by_webdataset(buckets),
        "tars with datasets": by_datasets(tars, False),
        "tars with datasets, streaming": by_datasets(tars, True),
        "buckets with datasets, streaming": by_datasets(buckets, True),
        "dataset with datasets": by_load_dataset(dataset, False),
        "dataset with datasets, streaming": by_load_dataset(dataset, True),
        "dataset copied to Lance": by_lance(dataset),
        "tars unpacked, as imagefolder": by_imagefolder(tars, kept),
    }
    first = ways["tars with webdataset"]
    assert {key: itm for key, (_, itm, _) in first.items()} == scores
    for way, found in ways.items():
        assert found == first, (way, found.items() ^ first.items())
        print(f"{way}: {len(found)} samples, captions, scores and images equal")
    print(versions("datasets", "webdataset", "pylance", "polars", "pyarrow", "pillow"))


if __name__ == "__main__":
    main(sys.argv[1])
