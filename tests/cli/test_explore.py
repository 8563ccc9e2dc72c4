"""`explore` as typed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.score_folders import (
    score_folder,
    score_table,
)


@pytest.mark.slow
def test_explore_shows_joined_scores(tmp_path: Path, scored_pool: str) -> None:
    keys = [f"00001{row:04d}" for row in range(10)]
    other = score_table("00001", keys, {"clip_score": [row / 10 for row in range(10)]})
    clip = score_folder(tmp_path / "clip", {"00001": other}, fingerprint={"scorer": "clip"})
    server = subprocess.Popen(
        [sys.executable, "-m", "pairsift", "explore", scored_pool, "--join", f"other={clip}",
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
