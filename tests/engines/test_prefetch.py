"""Reading ahead: order, bounds, and workers that die."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pairsift import Pair, Status
from pairsift.engines import prefetch
from pairsift.engines.base import Job
from pairsift.engines.pool import PreparerPool
from pairsift.engines.prefetch import (
    AHEAD,
    CHUNK,
    CHUNK_BYTES,
    Prefetcher,
    PreparedShard,
    chunks,
)
from pairsift.engines.reading import PatientReader, UnreadableShardError
from pairsift.scorers.base import Prepared
from pairsift.sources import ShardSet, find_shards
from tests.samples import jpeg, write_tar

DEADLY = "kills its worker"
ENDLESS = "hangs its worker"


def prepare(pair: Pair) -> Prepared:
    """Keep the caption; end the process at a deadly one, as a crashing decoder would."""
    if pair.caption == DEADLY:
        os._exit(11)
    if pair.caption == ENDLESS:
        time.sleep(600)
    return Prepared(pair.shard, pair.key, pair.uid, inputs=pair.caption)


@pytest.fixture
def pool(tmp_path: Path) -> ShardSet:
    image = jpeg(16, 16)
    for shard in range(3):
        samples = {
            f"{shard}-{index:03d}": {"jpg": image, "txt": f"caption {index}"} for index in range(50)
        }
        write_tar(tmp_path / f"{shard}.tar", samples)
    return find_shards([str(tmp_path)])


def open_job(job: Job, wait: Callable[[float], object]) -> PatientReader:
    return PatientReader(job.shard, wait)


def _streams(prefetcher: Prefetcher, pool: ShardSet) -> Iterator[PreparedShard]:
    jobs = [Job(shard) for shard in pool.shards]
    return (stream for _, stream in prefetcher.jobs(jobs, open_job))


def _keys(pool: ShardSet, workers: int) -> list[str]:
    with Prefetcher(prepare, workers) as prefetcher:
        return [row.key for rows in _streams(prefetcher, pool) for row in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_order_is_kept_across_shards(pool: ShardSet, workers: int) -> None:
    assert _keys(pool, workers) == [f"{s}-{i:03d}" for s in range(3) for i in range(50)]


@pytest.mark.slow
def test_reader_stays_a_bounded_way_ahead(pool: ShardSet) -> None:
    seen = 0

    def count(pair: Pair) -> Prepared:
        nonlocal seen
        seen += 1
        return prepare(pair)

    with Prefetcher(count, 0) as prefetcher:
        for rows in _streams(prefetcher, pool):
            for taken, _ in enumerate(rows, 1):
                if taken == 1:
                    time.sleep(0.5)
                    assert seen <= (AHEAD + 2) * CHUNK
            break


def test_leaving_early_ends_the_thread(pool: ShardSet) -> None:
    with Prefetcher(prepare, 0) as prefetcher:
        for rows in _streams(prefetcher, pool):
            next(iter(rows))
            break
    assert not [t for t in threading.enumerate() if t.name == "pairsift-reader"]


def test_one_prefetcher_serves_several_runs(pool: ShardSet) -> None:
    with Prefetcher(prepare, 1) as prefetcher:
        for _ in range(2):
            assert sum(1 for rows in _streams(prefetcher, pool) for _ in rows) == 150


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "reason", "count"),
    [(DEADLY, "crashed the worker", CHUNK + 4), (ENDLESS, "took more than", 2)],
)
def test_pair_that_kills_or_hangs_its_worker_costs_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str, reason: str, count: int
) -> None:
    monkeypatch.setattr(prefetch, "PreparerPool", functools.partial(PreparerPool, time_limit=8.0))
    image = jpeg(16, 16)
    captions = [deed if index == 1 else f"caption {index}" for index in range(count)]
    write_tar(
        tmp_path / "0.tar",
        {f"{i:03d}": {"jpg": image, "txt": caption} for i, caption in enumerate(captions)},
    )
    with Prefetcher(prepare, 1) as prefetcher:
        rows = [row for rows in _streams(prefetcher, find_shards([str(tmp_path)])) for row in rows]
    assert [row.key for row in rows] == [f"{index:03d}" for index in range(count)]
    failed = [row for row in rows if row.status is not Status.OK]
    assert [(row.key, row.status) for row in failed] == [("001", Status.MODEL_ERROR)]
    assert reason in str(failed[0].error)
    assert rows[0].inputs == "caption 0"


def test_shard_that_cannot_be_opened_raises_at_its_turn(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a": {"jpg": jpeg(16, 16), "txt": "x"}})
    (tmp_path / "1.tar").write_bytes(b"no tar" * 1000)
    write_tar(tmp_path / "2.tar", {"c": {"jpg": jpeg(16, 16), "txt": "x"}})
    taken = []
    with Prefetcher(prepare, 0) as prefetcher:
        for rows in _streams(prefetcher, find_shards([str(tmp_path)])):
            try:
                taken += [row.key for row in rows]
            except UnreadableShardError as error:
                taken.append(str(error))
    assert taken == ["a", taken[1], "c"]
    assert "1.tar" in taken[1]


_ORPHAN_MAKER = """
import sys, time
from pairsift.engines.pool import PreparerPool
from pairsift.pair import Pair
from tests.engines.test_prefetch import pid_of_worker
pool = PreparerPool(pid_of_worker, 1)
print(pool.submit([Pair("k", None, None)]).rows()[0].key, flush=True)
time.sleep(600)
"""


def pid_of_worker(pair: Pair) -> Prepared:
    return Prepared("", str(os.getpid()), None)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _ORPHAN_MAKER], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert psutil.pid_exists(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker)


def test_chunks_are_bounded_in_pairs_and_in_bytes() -> None:
    small = [Pair(str(index), b"x" * 100, "a dog") for index in range(CHUNK + 1)]
    large = [Pair(str(index), bytes(CHUNK_BYTES // 3), "a dog") for index in range(5)]
    assert [len(chunk) for chunk in chunks(small)] == [CHUNK, 1]
    assert [len(chunk) for chunk in chunks(large)] == [3, 2]
    missing = [Pair("missing", None, None)] * 3
    assert list(chunks(iter(missing))) == [missing]
    assert list(chunks([])) == []
