"""Shards to score, and the tables that come of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.samples import CAPTION, jpeg, write_tar

SHARDS = 4
SAMPLES = 20


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Four shards of 20 pairs; the third pair of each has no image."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for shard in range(SHARDS):
        samples = {}
        for index in range(SAMPLES):
            members = {"txt": f"{CAPTION} {shard} {index}", "jpg": jpeg(300 + index, 240)}
            if index == 2:
                del members["jpg"]
            samples[f"{shard:02d}{index:03d}"] = members
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


def tables(out: Path) -> dict[str, pa.Table]:
    """Score tables of a folder without their metadata, which holds times."""
    return {
        path.name: pq.read_table(path).replace_schema_metadata(None)
        for path in sorted(out.glob("*.parquet"))
    }
