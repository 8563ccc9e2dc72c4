"""Score tables with given hashes: what `dedup` and `select` read, without an image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pairsift.expressions.database import open_database
from pairsift.hashing import HASH_FIELDS, VERSION, hash_caption
from pairsift.pair import Status
from pairsift.scores import ScoreFolder, score_schema, status_array

Write = Callable[..., str]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database() as opened:
        yield opened


@pytest.fixture
def write_scores(tmp_path: Path) -> Write:
    """Makes a score folder of rows (perceptual hash as a number or None, file, caption, score)."""

    def write(
        shards: dict[str, Sequence[tuple[int | None, str, str, float]]],
        name: str = "scores",
        version: str = VERSION,
        uids: bool = False,
    ) -> str:
        fields = (pa.field("itm", pa.float32()), *HASH_FIELDS)
        fingerprint = {"scorer": "given", "hashes": version}
        folder = ScoreFolder(str(tmp_path / name), fingerprint, str(tmp_path))
        for shard, rows in shards.items():
            count = len(rows)
            hashes, files, captions, scores = zip(*rows, strict=True) if rows else ((),) * 4
            columns: list[Any] = [
                [shard] * count,
                [f"k{place}" for place in range(count)],
                [f"{place:032x}" for place in range(count)] if uids else [None] * count,
                status_array([Status.OK] * count),
                *[[None] * count] * 4,
                np.array(scores, dtype=np.float32),
                [hashlib.sha256(file.encode()).hexdigest() for file in files],
                [None if value is None else f"{value:016x}" for value in hashes],
                [hash_caption(text) for text in captions],
            ]
            schema = score_schema(fields)
            arrays = [
                column if isinstance(column, pa.Array) else pa.array(column, field.type)
                for column, field in zip(columns, schema, strict=True)
            ]
            folder.commit(shard, pa.Table.from_arrays(arrays, schema=schema), {"rows": count})
        return str(tmp_path / name)

    return write
