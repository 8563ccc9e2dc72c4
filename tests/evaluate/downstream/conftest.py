"""Drawn shapes with captions that say what is drawn: a world small enough to learn in seconds."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 60, 220),
    "yellow": (240, 210, 40),
}
SHAPES = ("circle", "square", "triangle")
FORMS = (
    "a {} {} on a white wall",
    "the {} {} is drawn on paper",
    "one {} {} in the middle of a page",
    "a picture of a {} {} and nothing else",
)


@dataclass(frozen=True)
class World:
    """Files of the world; every image is drawn once."""

    images: Path
    captions: Path
    alt_text: Path
    test_images: Path
    classes: Path


def draw(colour: str, shape: str, rng: np.random.Generator) -> bytes:
    image = Image.new("RGB", (224, 224), tuple(int(v) for v in rng.integers(235, 256, 3)))
    pen = ImageDraw.Draw(image)
    x, y = rng.integers(70, 150, 2)
    r = int(rng.integers(35, 65))
    fill = tuple(int(np.clip(v + rng.integers(-15, 16), 0, 255)) for v in COLOURS[colour])
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif shape == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=fill)
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(7)
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    rows, table = [], []
    for split, count in (("train", 36), ("test", 12)):
        (folder / split).mkdir()
        for number in range(count):
            colour, shape = kinds[number % len(kinds)]
            name = f"{split}{number:03d}.jpg"
            content = draw(colour, shape, rng)
            (folder / split / name).write_bytes(content)
            rows += [(name, form.format(colour, shape)) for form in FORMS]
    for number in range(12):
        colour, shape = kinds[number % len(kinds)]
        table.append(
            {
                "image_file": f"class{number}.jpg",
                "class_name": colour,
                "image_jpeg": draw(colour, shape, rng),
            }
        )
    with open(folder / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "caption"))
        writer.writerows(rows)
    with open(folder / "alt.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("alt_text",))
        writer.writerows([f"Buy model {n} online, best price 20{n}"] for n in range(10, 60))
    pq.write_table(pa.Table.from_pylist(table), folder / "classes.parquet")
    return World(
        folder / "train",
        folder / "captions.csv",
        folder / "alt.csv",
        folder / "test",
        folder / "classes.parquet",
    )
