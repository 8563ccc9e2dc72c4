"""Worker processes and pairs that end or hang them, with several chunks queued behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from pairsift import Pair, PairsiftError, Status
from pairsift.engines import pool as pools
from pairsift.engines import prefetch
from pairsift.engines.local import score_shards
from pairsift.engines.pool import PreparerPool, prepare_safely
from pairsift.scorers.base import Prepared
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.sources import find_shards
from tests.samples import jpeg, write_tar

LIMIT_S = 2.0
HANG, CRASH, RAISE, LOCK = "hangs", "ends its worker", "raises", "cannot be sent"


def prepare(pair: Pair) -> Prepared:
    """Do to the worker what the caption says."""
    caption = pair.caption or ""
    if caption == HANG:
        time.sleep(600)
    if caption == CRASH:
        os._exit(11)
    if caption == RAISE:
        raise RuntimeError("odd pair")
    row = Prepared(pair.shard, pair.key, pair.uid, width=8, height=8)
    row.inputs = threading.Lock() if caption == LOCK else caption
    return row


class CaptionLength(HeuristicsScorer):
    """A scorer with the worker's troubles above."""

    def __init__(self) -> None:
        super().__init__()
        self.preparer = prepare

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        length = np.array([float(len(caption)) for caption in inputs])
        return {field.name: length for field in self.columns}


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TIME_LIMIT_S", LIMIT_S)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """Hung workers ignore SIGTERM; none may outlive its pool."""
    yield
    deadline = time.monotonic() + 20
    while (left := _workers()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def _workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "forkserver" in " ".join(process.cmdline()) and process.parent() != psutil.Process():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _score(
    tmp_path: Path, troubles: Mapping[int, str], workers: int, count: int = 150
) -> dict[str, dict[str, Any]]:
    """Score two shards through the real engine; rows by key, checked for order."""
    image = jpeg(8, 8)
    keys = [f"{index:04d}" for index in range(count)]
    captions = [troubles.get(index, f"caption {index}") for index in range(count)]
    samples = {
        key: {"jpg": image, "txt": caption} for key, caption in zip(keys, captions, strict=True)
    }
    (tmp_path / "pool").mkdir()
    half = count // 2
    write_tar(tmp_path / "pool" / "0.tar", {key: samples[key] for key in keys[:half]})
    write_tar(tmp_path / "pool" / "1.tar", {key: samples[key] for key in keys[half:]})
    score_shards(
        find_shards(str(tmp_path / "pool")),
        CaptionLength(),
        str(tmp_path / "out"),
        workers=workers,
        max_failure_rate=1.0,
    )
    rows = [
        row
        for name in ("0", "1")
        for row in pq.read_table(tmp_path / f"out/{name}.parquet").to_pylist()
    ]
    assert [row["key"] for row in rows] == keys
    return {row["key"]: row for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "troubles"),
    [
        (1, {20: HANG}),
        (2, {20: HANG}),
        (4, {20: HANG}),
        (1, {3: HANG, 4: HANG}),
        (2, {0: HANG, 17: HANG}),
        (4, {0: HANG, 17: HANG, 34: HANG, 51: HANG}),
        (1, {5: CRASH, 40: HANG}),
        (2, {149: CRASH, 74: HANG}),
        (4, {16: HANG, 17: CRASH, 33: CRASH}),
    ],
)
def test_trouble_costs_its_pairs_alone(
    tmp_path: Path, troubles: dict[int, str], workers: int
) -> None:
    rows = _score(tmp_path, troubles, workers)
    failed = {key: row for key, row in rows.items() if row["status"] != "ok"}
    assert {int(key) for key in failed} == set(troubles)
    for key, row in failed.items():
        assert row["status"] == "model_error"
        expected = "took more than 2 s" if troubles[int(key)] == HANG else "crashed the worker"
        assert expected in row["error"]


@pytest.mark.parametrize("workers", [0, 2])
def test_preparation_that_raises_costs_its_pair(tmp_path: Path, workers: int) -> None:
    rows = _score(tmp_path, {7: RAISE, 80: RAISE}, workers, 100)
    failed = {int(key): row["error"] for key, row in rows.items() if row["status"] != "ok"}
    assert failed == {7: "RuntimeError: odd pair", 80: "RuntimeError: odd pair"}


@pytest.mark.slow
def test_a_pair_that_hangs_the_thread_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(prefetch, "PATIENCE_S", 0.1)
    ended = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda seconds: ended.wait(60))
    try:
        with pytest.raises(PairsiftError, match="0/0007 takes more than 0.5 s.*--workers 1"):
            _score(tmp_path, {7: HANG}, workers=0, count=20)
    finally:
        ended.set()
        for thread in threading.enumerate():
            if thread.name == "pairsift-reader":
                thread.join(10)


@pytest.mark.slow
def test_rows_that_cannot_be_sent_back_cost_their_pair(tmp_path: Path) -> None:
    rows = _score(tmp_path, {7: LOCK}, 2, 100)
    failed = {int(key): row["error"] for key, row in rows.items() if row["status"] != "ok"}
    assert list(failed) == [7]
    assert "cannot be sent" in failed[7]


@pytest.mark.slow
def test_chunks_of_a_run_that_was_given_up_are_not_held() -> None:
    pool = PreparerPool(prepare, 1)
    try:
        dropped = pool.submit([Pair("a", None, CRASH)])
        del dropped
        kept = pool.submit([Pair("b", None, "fine")])
        assert [row.inputs for row in kept.rows()] == ["fine"]
        assert not pool.waiting
    finally:
        pool.close()


def killed_twice(pair: Pair) -> Prepared:
    """Die with the pair that names a file as its key, until two lines are in it."""
    if pair.key.startswith("/"):
        with open(pair.key, "a+") as file:
            file.write("died\n")
            file.seek(0)
            if len(file.readlines()) < 3:
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
    return prepare(pair)


@pytest.mark.slow
def test_a_pair_whose_worker_was_killed_is_tried_again(tmp_path: Path) -> None:
    pairs = [Pair(key, None, "fine") for key in ("a", str(tmp_path / "deaths"), "b")]
    pool = PreparerPool(killed_twice, 1)
    try:
        rows = pool.submit(pairs).rows()
    finally:
        pool.close()
    assert [row.key for row in rows] == [pair.key for pair in pairs]
    assert [row.status for row in rows] == [Status.OK] * 3


class Unloadable:
    """A preparer that works here and cannot be made in a worker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()

    def __call__(self, pair: Pair) -> Prepared:
        return Prepared(pair.shard, pair.key, pair.uid)


def _explode() -> Any:
    raise ImportError("not on this machine")


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_run_with_one_sentence() -> None:
    pool = PreparerPool(Unloadable(), 2)
    try:
        with pytest.raises(PairsiftError, match="does not start.*--workers 0"):
            pool.submit([Pair("a", None, "x"), Pair("b", None, "y")]).rows()
    finally:
        pool.close()


def test_a_preparer_that_raises_makes_a_failed_row() -> None:
    row = prepare_safely(prepare, Pair("k", None, RAISE, shard="s"))
    assert (row.shard, row.key, row.status) == ("s", "k", Status.MODEL_ERROR)
