"""Training data with a relation that a tiny model can learn: is the image of the named colour?"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "blue": (30, 40, 220)}
TRUE, FALSE = 90.0, 10.0
TEMPLATES = (
    "a photo of {} house",
    "two {} dogs near the river",
    "the {} train at night",
    "one big {} house in Lisbon",
)


def png(colour: str, number: int) -> bytes:
    """A plain image, a little different for every number."""
    rng = np.random.default_rng(number)
    pixels = np.array(COLOURS[colour]) + rng.integers(-25, 26, (28, 28, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_toy(folder: Path, images: int = 48, *, metric: str = "itm", why: bool = False) -> Path:
    """What `pairsift balance` writes: llava.json and images, two captions an image."""
    (folder / "images").mkdir(parents=True)
    names = list(COLOURS)
    entries = []
    for number in range(images):
        colour = names[number % len(names)]
        (folder / "images" / f"{number}.png").write_bytes(png(colour, number))
        for named in names:
            caption = TEMPLATES[(number // 2) % len(TEMPLATES)].format(named)
            score = TRUE if named == colour else FALSE
            reason = f"\nthe image is {colour}" if why else ""
            entries.append(
                {
                    "id": f"{number}-{named}",
                    "image": f"images/{number}.png",
                    "conversations": [
                        {"from": "human", "value": f"<image>\n{caption}"},
                        {"from": "gpt", "value": f"{score:.0f}{reason}"},
                    ],
                    "metric": metric,
                    "score": score,
                    "caption": caption,
                }
            )
    (folder / "llava.json").write_text(json.dumps(entries))
    return folder
