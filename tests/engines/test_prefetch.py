"""Reading ahead: order, bounds, and workers that die."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pairsift import Pair, Status
from pairsift.engines.prefetch import _AHEAD, CHUNK, Prefetcher
from pairsift.scorers.base import Prepared
from pairsift.sources import ShardSet, find_shards
from tests.samples import jpeg, write_tar

DEADLY = "kills its worker"


def prepare(pair: Pair) -> Prepared:
    """Keep the caption; end the process at a deadly one, as a crashing decoder would."""
    if pair.caption == DEADLY:
        os._exit(11)
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


def _keys(pool: ShardSet, workers: int) -> list[str]:
    with Prefetcher(prepare, workers) as prefetcher:
        return [row.key for _, rows in prefetcher.shards(pool.shards) for row in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_order_is_kept_across_shards(pool: ShardSet, workers: int) -> None:
    assert _keys(pool, workers) == [f"{s}-{i:03d}" for s in range(3) for i in range(50)]


def test_reader_stays_a_bounded_way_ahead(pool: ShardSet) -> None:
    seen = 0

    def count(pair: Pair) -> Prepared:
        nonlocal seen
        seen += 1
        return prepare(pair)

    with Prefetcher(count, 0) as prefetcher:
        for _, rows in prefetcher.shards(pool.shards):
            for taken, _ in enumerate(rows, 1):
                if taken == 1:
                    time.sleep(0.5)
                    assert seen <= (_AHEAD + 2) * CHUNK
            break


def test_leaving_early_ends_the_thread(pool: ShardSet) -> None:
    with Prefetcher(prepare, 0) as prefetcher:
        for _, rows in prefetcher.shards(pool.shards):
            next(iter(rows))
            break
    assert not [t for t in threading.enumerate() if t.name == "pairsift-reader"]


def test_pair_that_kills_its_worker_costs_one_row(tmp_path: Path) -> None:
    image = jpeg(16, 16)
    captions = [DEADLY if index == 20 else f"caption {index}" for index in range(40)]
    write_tar(
        tmp_path / "0.tar",
        {f"{i:03d}": {"jpg": image, "txt": caption} for i, caption in enumerate(captions)},
    )
    with Prefetcher(prepare, 2) as prefetcher:
        shards = find_shards([str(tmp_path)]).shards
        rows = [row for _, stream in prefetcher.shards(shards) for row in stream]
    assert [row.key for row in rows] == [f"{index:03d}" for index in range(40)]
    failed = [row for row in rows if row.status is not Status.OK]
    assert [(row.key, row.status) for row in failed] == [("020", Status.IMAGE_CORRUPT)]
    assert rows[39].inputs == "caption 39"


def test_shard_that_cannot_be_opened_raises_at_its_turn(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a": {"jpg": jpeg(16, 16), "txt": "x"}})
    (tmp_path / "1.tar").write_bytes(b"no tar" * 1000)
    taken = []
    with Prefetcher(prepare, 0) as prefetcher, pytest.raises(Exception, match=r"1\.tar"):
        for _, rows in prefetcher.shards(find_shards([str(tmp_path)]).shards):
            taken += [row.key for row in rows]
    assert taken == ["a"]
