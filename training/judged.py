"""The judged pairs: scores of captions by a model that sees the picture.

`judged.csv.gz` holds a large multimodal language model's scores for pairs of Flickr8k train and dev
images. The model saw the photograph, its five captions and the scale of `judged.md`. The file holds
no captions, only their positions in Flickr8k's list.
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
    """One judged pair.

    `image` and `of` are positions in a list of image names; the caption is the `number`-th of image
    `of`.
    """

    image: int
    of: int
    number: int
    score: float

    @property
    def caption(self) -> int:
        """Position among all captions, five per image."""
        return 5 * self.of + self.number


def read_judged(names: Sequence[str], file: Path = FILE) -> list[Judged]:
    """Return the judged pairs whose image is in `names`, in the order of the file."""
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
