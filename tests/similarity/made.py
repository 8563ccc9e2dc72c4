"""Score tables with embeddings of given numbers, and what is compared with brute force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.embeddings import FORMAT, IMAGE, TEXT, embedding_fields, to_arrow
from pairsift.images import ImageLimits
from pairsift.pair import Status
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scores import ScoreFolder, score_schema, status_array

DIMENSION = 24


def unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def make(folder: Path, rows: int, seed: int, tables: int = 3, model: str = "m") -> np.ndarray:
    """Score tables with embeddings of given numbers; returns these, (2, rows, dimension), as kept.

    Row 1 of each table is a failure.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(rows, DIMENSION))
    image, text = unit(base), unit(base + rng.normal(size=base.shape))
    columns = (pa.field("clip_score", pa.float32()), *embedding_fields(DIMENSION))
    fingerprint = {"scorer": "given", "checkpoint": model, "embeddings": FORMAT}
    scores = ScoreFolder(str(folder), fingerprint, "/pool")
    for number, part in enumerate(np.array_split(np.arange(rows), tables)):
        image[part[1]] = text[part[1]] = np.nan
        statuses = [Status.OK] * len(part)
        statuses[1] = Status.IMAGE_CORRUPT
        count = len(part)
        arrays = [
            pa.array([f"t{number}"] * count), pa.array([f"k{row}" for row in part]),
            pa.nulls(count, pa.string()), status_array(statuses), pa.nulls(count, pa.string()),
            *[pa.nulls(count, pa.int32())] * 3, pa.array(np.arange(count, dtype=np.float32) + seed),
        ]  # fmt: skip
        table = pa.Table.from_arrays(arrays, schema=score_schema(columns[:1]))
        for field, vectors in zip(columns[1:], (image, text), strict=True):
            table = table.append_column(field, to_arrow(vectors[part]))
        scores.commit(f"t{number}", table, {"rows": count})
    kept = np.stack([image, text]).astype(np.float16).astype(np.float64)
    lengths = np.linalg.norm(kept, axis=2, keepdims=True)
    return np.asarray(kept / lengths)


def column(path: Path, name: str) -> np.ndarray:
    table = pq.read_table(path)
    assert table.schema.names[:3] == ["shard", "key", "uid"]
    return np.array([np.nan if value is None else value for value in table[name].to_pylist()])


def same(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(found - expected)) < tolerance


class Given(Scorer):
    """Embeddings made of the caption's length, by a real run."""

    name: ClassVar[str] = "given"
    columns = (pa.field("length", pa.float32()), *embedding_fields(4))

    def __init__(self) -> None:
        self.preparer = Preparer(lambda image, caption: len(caption), ImageLimits())

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name, "embeddings": FORMAT}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        length = np.array(inputs, float)
        vectors = unit(np.stack([length, 1 + 0 * length, -length, length**2], axis=1))
        return {"length": length, IMAGE: vectors, TEXT: -vectors}
