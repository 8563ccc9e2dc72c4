"""What the judged pairs hold, and which of them are read."""

from __future__ import annotations

import csv
import gzip
import runpy
from collections import Counter
from pathlib import Path

import numpy as np

TRAINING = Path(__file__).parents[2] / "training"
JUDGED = runpy.run_path(str(TRAINING / "judged.py"))


def test_the_judged_pairs_are_scores_of_pairs_and_none_comes_twice() -> None:
    with gzip.open(JUDGED["FILE"], "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 39_816
    pairs = Counter((r["image_file"], r["caption_of"], r["caption_number"]) for r in rows)
    assert max(pairs.values()) == 1
    assert {int(row["caption_number"]) for row in rows} == set(range(5))
    scores = np.array([float(row["score"]) for row in rows])
    assert scores.min() == 0
    assert scores.max() == 100
    own = np.array([row["image_file"] == row["caption_of"] for row in rows])
    assert scores[own].mean() > 95  # people wrote them for the image
    assert scores[~own].mean() < 50


def test_only_pairs_of_the_named_images_are_read(tmp_path: Path) -> None:
    file = tmp_path / "judged.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.write("image_file,caption_of,caption_number,score,times\na.jpg,b.jpg,3,40,1\n")
        out.write("c.jpg,a.jpg,0,10,2\n")
    (found,) = JUDGED["read_judged"](["b.jpg", "a.jpg"], file)
    assert (found.image, found.of, found.number, found.score) == (1, 0, 3, 40.0)
    assert found.caption == 3
