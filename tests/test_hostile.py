"""A thousand malformed samples through a real run: a row each, bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairsift.pair import Status
from tests.support.hostile import Pool, write_pool

GIB = 2**20  # in KiB

# In a process of its own, whose peak memory is known. A pair's time is its thread's, so that what
# else the machine does plays no part.
RUN = """
import json, re, sys, time
from pairsift import Pair, load_scorer
from pairsift.engines.local import score_shards
from pairsift.sources import find_shards
from tests.samples import CAPTION, jpeg

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

class Timed:
    def __init__(self, prepare):
        self.prepare, self.slowest = prepare, (0.0, "")

    def __call__(self, pair):
        begin = time.thread_time()
        row = self.prepare(pair)
        self.slowest = max(self.slowest, (time.thread_time() - begin, pair.key))
        return row

pool, out, name = sys.argv[1:]
scorer = load_scorer(name)
scorer.score([Pair("warm", jpeg(), CAPTION)] * 8)
scorer.preparer = Timed(scorer.preparer)
before = peak()
for kind in ("tar*", "parquet"):
    summary = score_shards(
        find_shards(f"{pool}/*.{kind}"),
        scorer,
        f"{out}/{kind[:3]}",  # a score folder is of one kind of source
        workers=0,
        max_failure_rate=1.0,
        batch_size=8,
    )
    assert not summary.unreadable, summary.unreadable
print(json.dumps({"peak": peak() - before, "slowest": scorer.preparer.slowest}))
"""


def run(pool: Path, out: Path, scorer: str) -> dict[str, Any]:
    """Score; returns the peak memory in KiB above the model's, and the slowest pair in seconds."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, str(pool), str(out), scorer],
        capture_output=True,
        text=True,
        env=dict(os.environ) | {"OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def check_rows(pool: Pool, out: Path) -> Counter[str]:
    """Every sample has one row that says what it may; returns how many malformed ones say what."""
    left = dict(pool.expected)
    said: Counter[str] = Counter()
    for path in sorted(out.rglob("*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for place, row in enumerate(rows):
            kind, allowed = left.pop((path.stem, place), ("good sample", frozenset({"ok"})))
            _check_row(row, kind, allowed)
            if kind != "good sample":
                said[row["status"]] += 1
        assert len(rows) >= 3
    assert not left, "malformed samples without a row"
    return said


def _check_row(row: Mapping[str, Any], kind: str, allowed: frozenset[str]) -> None:
    where = f"{kind}: {row['shard']}/{row['key']}: {row['status']} ({row['error']})"
    assert row["status"] in allowed, where
    assert row["status"] in {status.value for status in Status}, where
    assert (row["status"] == "ok") == (row["error"] is None), where
    assert len(row["error"] or "") < 1000, where


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_thousand_malformed_samples(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    assert len(pool.expected) >= 1000
    assert pool.kinds >= 30
    measured = run(tmp_path / "pool", tmp_path / "out", "heuristics")
    said = check_rows(pool, tmp_path / "out")
    assert said.total() == len(pool.expected)
    assert len(said) >= 9, "statuses met"
    print(f"{len(pool.expected)} samples of {pool.kinds} kinds, {measured}, {dict(said)}")
    assert measured["peak"] < 2 * GIB
    assert measured["slowest"][0] < 20, measured["slowest"]
    # Names that lead elsewhere are only names.
    assert {path.name for path in tmp_path.iterdir()} == {"pool", "out"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_one_of_each_kind_with_the_embedded_filter(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", only_one=True)
    measured = run(tmp_path / "pool", tmp_path / "out", "pairsift-tiny")
    check_rows(pool, tmp_path / "out")
    print(f"{len(pool.expected)} samples of {pool.kinds} kinds, {measured}")
    assert measured["peak"] < 2 * GIB
    for path in (tmp_path / "out").rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            assert (row["status"] == "ok") == (row["itm"] is not None)
            assert row["itm"] is None or 0 <= row["itm"] <= 100
