"""Synthetic score tables of any size, with the real schema and by the real writer."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairsift.pair import Status
from pairsift.scores import FACTS_KEY, ScoreFolder, score_schema, status_array

FINGERPRINT = {"scorer": "synthetic", "version": "1"}
METRICS = ("itm", "odf", "ctq", "su")
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_STATUSES = list(Status)


def make_score_folder(folder: Path, rows: int, tables: int, duplicates: float = 0.0) -> None:
    """Fill a folder, unless an earlier run did with the same arguments.

    Args:
        rows: total number; each table has rows // tables of them.
        duplicates: fraction of rows whose uid an earlier row of the table has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".made"
    made = json.dumps({"rows": rows, "tables": tables, "duplicates": duplicates})
    if mark.exists() and mark.read_text() == made:
        return
    ScoreFolder(str(folder), FINGERPRINT, "/synthetic").claim()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        each = rows // tables
        for _ in pool.map(
            _make_table, [folder] * tables, range(tables), [each] * tables, [duplicates] * tables
        ):
            pass
    mark.write_text(made)


def _make_table(folder: Path, table: int, rows: int, duplicates: float) -> None:
    rng = np.random.default_rng(table)
    quality = rng.normal(62, 16, rows)
    scores = {
        name: np.clip(quality + rng.normal(0, 12, rows), 0, 100).astype(np.float32)
        for name in METRICS
    }
    uid = rng.integers(0, 16, (rows, 32), dtype=np.uint8)
    repeated = np.flatnonzero(rng.random(rows) < duplicates)
    uid[repeated] = uid[(repeated * 7919) % rows]
    statuses = np.where(rng.random(rows) < 0.02, rng.integers(1, len(_STATUSES), rows), 0)
    failed = statuses > 0
    name = f"{table:08d}"
    keys = np.char.add(f"{table:05d}", np.char.zfill(np.arange(rows).astype(str), 6))
    content = pa.Table.from_arrays(
        [
            pa.array([name] * rows),
            pa.array(keys),
            _strings(_HEX[uid]),
            status_array([_STATUSES[place] for place in statuses]),
            pa.array(np.where(failed, "made up", None), pa.string()),
            pa.array(rng.integers(200, 2000, rows), pa.int32()),
            pa.array(rng.integers(200, 2000, rows), pa.int32()),
            pa.array(rng.integers(5, 200, rows), pa.int32()),
            *[pa.array(scores[metric], mask=failed) for metric in METRICS],
        ],
        schema=score_schema([pa.field(metric, pa.float32()) for metric in METRICS]),
    )
    facts = {"source": f"/synthetic/{name}.tar", "source_kind": "webdataset", "rows": rows}
    writer = ScoreFolder(str(folder), FINGERPRINT, "/synthetic")
    writer.commit(name, content, facts)
    assert FACTS_KEY  # the folder's reader finds the source with it


def _strings(characters: np.ndarray) -> pa.Array:
    rows, width = characters.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(characters.tobytes())]
    return pa.StringArray.from_buffers(rows, buffers[1], buffers[2])
