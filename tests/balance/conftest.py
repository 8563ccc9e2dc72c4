"""Records as a teacher gives them."""

from __future__ import annotations

import numpy as np

from pairsift.teach.records import Record

THINGS = ("dog", "guitar", "bicycle", "mountain")


def teacher_records(count: int = 400, images: int = 20) -> list[Record]:
    """Scores as teachers give them: most near 90, some near 5, hardly any between."""
    rng = np.random.default_rng(0)
    records = []
    for row in range(count):
        scores = {}
        for metric in ("itm", "ctq"):
            centre = rng.choice([90, 5, 50], p=[0.75, 0.2, 0.05])
            scores[metric] = float(np.clip(rng.normal(centre, 6), 0, 100))
        caption = f"a {THINGS[row % 4]} seen {row} times by the {THINGS[row % 4]}"
        why = {"itm": f"because {row}"} if row % 2 else {}
        records.append(Record(f"{row % images}.jpg", caption, "own", 0, scores, why))
    return records
