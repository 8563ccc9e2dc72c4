"""A disk that is really full: a small file system of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.sources import find_shards
from tests.engines.conftest import tables


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """128 KiB at a mount point; skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_told_and_the_next_run_goes_on(
    pool: Path, tmp_path: Path, small_disk: Path
) -> None:
    shards = find_shards(str(pool))
    scorer = load_scorer("heuristics")
    out = small_disk / "scores"
    score_shards(shards, scorer, str(out), part=(1, 4))
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(PairsiftError, match="no space left while writing .*run the same command"):
        score_shards(shards, scorer, str(out))
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    assert list(tables(out)) == ["00000.parquet"]
    ballast.unlink()
    summary = score_shards(shards, scorer, str(out))
    assert (summary.skipped, summary.rows) == (1, 60)
    score_shards(shards, scorer, str(tmp_path / "calm"))
    assert tables(out) == tables(tmp_path / "calm")
