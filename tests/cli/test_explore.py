"""`explore` as typed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.score_folders import (
    sample_members,
    score_folder,
    score_table,
    write_tar,
)


@pytest.fixture
def pool(tmp_path: Path) -> str:
    """Two tars of ten pairs with itm 0 to 19."""
    tables = {}
    for shard in range(2):
        keys = [f"{shard:05d}{row:04d}" for row in range(10)]
        rng = np.random.default_rng(shard)
        members = [member for key in keys for member in sample_members(key, rng)]
        write_tar(tmp_path / "data" / f"{shard:05d}.tar", members)
        itm = [shard * 10 + row for row in range(10)]
        tables[f"{shard:05d}"] = score_table(f"{shard:05d}", keys, {"itm": itm})
    return score_folder(tmp_path / "scores", tables, root=tmp_path / "data")


@pytest.mark.slow
def test_explore_shows_joined_scores(tmp_path: Path, pool: str) -> None:
    keys = [f"00001{row:04d}" for row in range(10)]
    other = score_table("00001", keys, {"clip_score": [row / 10 for row in range(10)]})
    clip = score_folder(tmp_path / "clip", {"00001": other}, fingerprint={"scorer": "clip"})
    server = subprocess.Popen(
        [sys.executable, "-m", "pairsift", "explore", pool, "--join", f"other={clip}",
         "--cache", str(tmp_path / "cache")],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        query = "api/rows?sort=other.clip_score&order=desc&size=2"
        with urllib.request.urlopen(url + query) as answer:
            rows = json.load(answer)["rows"]
        assert [(row["key"], row["other.clip_score"]) for row in rows] == [
            (keys[9], 0.9),
            (keys[8], 0.8),
        ]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
