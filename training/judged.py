"""The judged pairs: what a reader who sees the picture says of a caption.

`judged.csv.gz` holds the scores that a large multimodal language model gave pairs of Flickr8k train
and dev images, each with the photograph and its five captions before it and the scale of
`judged.md` to go by. It holds no caption, only where it stands in Flickr8k's list.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "judged.csv.gz"
YES = 70.0
"""From here on the judge finds at most one clear small error."""


@dataclass(frozen=True)
class Judged:
    """One judged pair. `image` and `of` are places in a list of image names; the caption is the
    `number`-th of image `of`."""

    image: int
    of: int
    number: int
    score: float

    @property
    def caption(self) -> int:
        """Place among all captions, five an image."""
        return 5 * self.of + self.number


def read_judged(names: Sequence[str], file: Path = FILE) -> list[Judged]:
    """The judged pairs whose image is among `names`, in the order of the file."""
    place = {name: at for at, name in enumerate(names)}
    with gzip.open(file, "rt", newline="", encoding="utf-8") as lines:
        return [
            Judged(
                place[row["image_file"]],
                place[row["caption_of"]],
                int(row["caption_number"]),
                float(row["score"]),
            )
            for row in csv.DictReader(lines)
            if row["image_file"] in place
        ]
