"""Read tars and decode their images: Pairsift beside webdataset with Pillow, and img2dataset.

    .venv-outside-peers/bin/python -m benchmarks.reading --rounds 7

The pool is 1,000 JPEG photographs (crops of the demo's, shorter side 480 pixels, quality 90) with
captions in two tars. Each way gives the same pixels in one process, on one thread:

- ``pairsift``: :func:`pairsift.sources.open_shard` and :func:`pairsift.images.decode_image`, with
  all checks of what is untrusted: declared sizes, truncation, EXIF orientation, transparency;
- ``webdataset + Pillow``: ``WebDataset(...).decode("pilrgb")``;
- ``webdataset + img2dataset``: img2dataset's ``Resizer``, as it decodes with OpenCV to check an
  image without encoding it again (it makes no captions and no RGB).

``--resize 224`` also scales the shorter side down to so many pixels, as preparation for a model
does; img2dataset's resizer then also encodes, because that is what it is for.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.rounds import OURS, run_rounds, versions

PAIRS = 1000
SIDE = 480


def make_pool(folder: Path, pairs: int = PAIRS, side: int = SIDE) -> list[str]:
    """Write tars of crops of the demo's photographs, and return their paths."""
    from pairsift.demo.photos import PHOTOS

    rng = np.random.default_rng(0)
    photos = [Image.open(io.BytesIO(photo.read())).convert("RGB") for photo in PHOTOS]
    paths = []
    for shard in range(2):
        path = folder / f"{shard:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for index in range(shard, pairs, 2):
                place = index % len(PHOTOS)
                image = _crop(photos[place], rng, side)
                file = io.BytesIO()
                image.save(file, "JPEG", quality=90)
                _add(tar, f"{index:06d}.jpg", file.getvalue())
                _add(tar, f"{index:06d}.txt", f"{PHOTOS[place].right}, {index}".encode())
        paths.append(str(path))
    return paths


def _crop(photo: Image.Image, rng: np.random.Generator, side: int) -> Image.Image:
    width, height = (round(edge * 0.9) for edge in photo.size)
    left = int(rng.integers(photo.width - width))
    top = int(rng.integers(photo.height - height))
    scale = side / min(width, height)
    size = round(width * scale), round(height * scale)
    return photo.resize(size, box=(left, top, left + width, top + height))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _shrunk(image: Image.Image, side: int | None) -> Image.Image:
    if side is None:
        return image
    scale = side / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    return image.resize(size, Image.Resampling.BICUBIC)


def by_pairsift(tars: list[str], side: int | None) -> Iterator[tuple[str, Any]]:
    """Yield captions and images."""
    from pairsift.images import decode_image
    from pairsift.sources import find_shards, open_shard

    for shard in find_shards(tars).shards:
        for pair in open_shard(shard):
            image, _ = decode_image(pair.image)
            yield pair.caption or "", _shrunk(image, side)


def by_webdataset(tars: list[str], side: int | None) -> Iterator[tuple[str, Any]]:
    """Yield captions and images."""
    import webdataset

    for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("pilrgb"):
        yield sample["txt"], _shrunk(sample["jpg"], side)


def by_img2dataset(tars: list[str], side: int | None) -> Iterator[tuple[str, Any]]:
    """Yield captions and the resizer's result, (bytes, width, height, ...)."""
    import webdataset
    from img2dataset.resizer import Resizer

    mode = "no" if side is None else "keep_ratio"
    resizer = Resizer(side or 0, mode, False, skip_reencode=True, encode_quality=90)
    for sample in webdataset.WebDataset(tars, shardshuffle=False):
        yield sample["txt"].decode(), resizer(io.BytesIO(sample["jpg"]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--resize", type=int, help="also scale the shorter side to so many pixels")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    readers = {
        OURS: by_pairsift,
        "webdataset + Pillow": by_webdataset,
        "webdataset + img2dataset": by_img2dataset,
    }
    with tempfile.TemporaryDirectory() as folder:
        tars = make_pool(Path(folder), given.pairs)
        ours = [(text, np.asarray(image)) for text, image in by_pairsift(tars, given.resize)]
        theirs = list(by_webdataset(tars, given.resize))
        assert len(ours) == len(theirs) == given.pairs
        for (text, pixels), (other, image) in zip(ours, theirs, strict=True):
            assert text == other
            assert np.array_equal(pixels, np.asarray(image)), text
        for (text, (content, *_, error)), (other, _) in zip(
            by_img2dataset(tars, given.resize), ours, strict=True
        ):
            assert text == other
            assert content, error
        ways = {
            name: lambda read=read: sum(1 for _ in read(tars, given.resize))
            for name, read in readers.items()
        }
        print("\n".join(run_rounds(ways, given.rounds, given.pairs).lines()))
    print(versions("webdataset", "img2dataset", "pillow", "opencv-python-headless"))


if __name__ == "__main__":
    main()
