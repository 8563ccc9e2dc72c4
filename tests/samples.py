"""Real files for tests: encoded images, tars and parquet files, made on the spot."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

CAPTION = "a brown dog runs along the beach with a ball"

Members = Mapping[str, bytes | str]


def picture(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """An RGB image with structure: a gradient and a rectangle whose place depends on the seed."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack(
        [255 * x // width, 255 * y // height, (x + y + 40 * seed) % 256], axis=-1
    ).astype(np.uint8)
    left, top = width * (seed % 5) // 8, height * (seed % 3) // 6
    pixels[top : top + height // 3 + 1, left : left + width // 3 + 1] = (200, 30, 60)
    return Image.fromarray(pixels)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """The image as a file of a format Pillow can write."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jpeg(width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    """A JPEG of the given size in pixels."""
    return encode(picture(width, height, seed), "JPEG", quality=90)


def png(width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    """A PNG of the given size in pixels."""
    return encode(picture(width, height, seed), "PNG")


def damage(path: Path, group: int, *columns: str) -> None:
    """Overwrite columns of a row group of a parquet file, so that they cannot be read."""
    data = bytearray(path.read_bytes())
    chunks = pq.read_metadata(path).row_group(group)
    for number in range(chunks.num_columns):
        chunk = chunks.column(number)
        if chunk.path_in_schema.partition(".")[0] in columns:
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            data[start : start + chunk.total_compressed_size] = (
                b"\xff" * chunk.total_compressed_size
            )
    path.write_bytes(data)


def tar_bytes(members: Iterable[tuple[str, bytes | str]], compression: str = "") -> bytes:
    """A tar of (name, content), in that order; `compression` as tarfile names it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as tar:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return file.getvalue()


def write_tar(path: Path, samples: Mapping[str, Members] | Sequence[tuple[str, Members]]) -> Path:
    """Write a webdataset shard.

    Args:
        samples: key → {suffix: content}; as a sequence of such pairs, keys may repeat.
    """
    pairs = samples.items() if isinstance(samples, Mapping) else samples
    members = [
        (f"{key}.{suffix}", content)
        for key, contents in pairs
        for suffix, content in contents.items()
    ]
    path.write_bytes(tar_bytes(members, "gz" if path.suffix in (".gz", ".tgz") else ""))
    return path


def good_samples(count: int, prefix: str = "good") -> dict[str, dict[str, bytes | str]]:
    """Samples that every scorer accepts."""
    return {
        f"{prefix}{index:04d}": {
            "jpg": jpeg(seed=index),
            "json": f'{{"uid": "{index:032x}", "url": "u{index}"}}',
            "txt": f"{CAPTION} number {index}",
        }
        for index in range(count)
    }
