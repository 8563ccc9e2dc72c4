"""Judged images: captions of more or fewer words, and people's scores of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from tests.samples import jpeg, tar_bytes

SENTENCE = "a brown dog runs along the beach with a red ball in its mouth"
WORDS = SENTENCE.split()


def judged_images(tmp_path: Path, count: int = 12) -> str:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes((f"{i}.jpg", jpeg(24, 16, i)) for i in range(count)))
    return str(path)


def write_judgments(tmp_path: Path, images: int = 12) -> str:
    """More words, higher score, with some noise."""
    rng = np.random.default_rng(5)
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["image", "caption", "score"])
    for row in range(60):
        count = 1 + row % len(WORDS)
        caption = " ".join(WORDS[:count])
        out.writerow([f"{row % images}.jpg", caption, round(count / 3 + rng.normal(0, 0.8))])
    path = tmp_path / "judgments.csv"
    path.write_text(text.getvalue())
    return str(path)
