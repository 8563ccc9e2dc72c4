"""Beginning over finished shards costs one listing, not a look at each, but for the first time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.samples import good_samples, write_tar

COUNT_OPENS = """
import sys
from pairsift import load_scorer
from pairsift.engines.local import score_shards
from pairsift.sources import find_shards

pool, out = sys.argv[1:]
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
summary = score_shards(find_shards(pool), load_scorer("heuristics"), out)
inside = [path for path in opened if path.startswith((pool, out))]
print(summary.skipped, summary.rows, len(inside))
"""


def _opens(pool: Path, out: Path) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_OPENS, str(pool), str(out)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(number) for number in done.stdout.split()]


@pytest.mark.slow
def test_files_opened_do_not_depend_on_how_many_are_finished(tmp_path: Path) -> None:
    counts = {}
    for finished in (10, 300):
        pool, out = tmp_path / f"pool{finished}", tmp_path / f"out{finished}"
        pool.mkdir()
        first = write_tar(pool / "00000.tar", good_samples(2))
        assert _opens(pool, out)[:2] == [0, 2]
        for number in range(1, finished + 1):
            os.link(first, pool / f"{number:05d}.tar")
        # Tables scored by others: what they say of their shards is read once, and noted.
        assert _opens(pool, out)[:2] == [1, 2 * finished]
        assert _opens(pool, out)[:2] == [finished + 1, 0]
        (out / f"{finished:05d}.parquet").unlink()
        skipped, rows, counts[finished] = _opens(pool, out)
        assert (skipped, rows) == (finished, 2)
    assert counts[300] == counts[10]
