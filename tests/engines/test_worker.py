"""One scorer at work on shards: what becomes of those that cannot be read or scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines import reading
from pairsift.engines.base import Job, ShardResult, StatusUpdate
from pairsift.engines.worker import ShardWorker
from pairsift.retry import Backoff
from pairsift.scores import ScoreFolder
from pairsift.sources import Shard, ShardSet, find_shards


@pytest.fixture
def shards(pool: Path) -> ShardSet:
    return find_shards(str(pool))


def _worker(out: Path, shards: ShardSet) -> ShardWorker:
    scorer = load_scorer("heuristics")
    scores = ScoreFolder(str(out), scorer.fingerprint, shards.root)
    return ShardWorker(scorer, scores, None, 0, "run")


def _run(worker: ShardWorker, jobs: list[Job]) -> tuple[list[ShardResult], list[StatusUpdate]]:
    updates: list[StatusUpdate] = []
    with worker:
        return list(worker.run(jobs, updates.append)), updates


def test_results_come_in_order_with_their_counts(shards: ShardSet, tmp_path: Path) -> None:
    results, updates = _run(
        _worker(tmp_path / "out", shards), [Job(shard) for shard in shards.shards]
    )
    assert [result.name for result in results] == ["00000", "00001", "00002", "00003"]
    assert {result.outcome for result in results} == {"scored"}
    assert all(result.statuses == {"ok": 19, "image_missing": 1} for result in results)
    assert sum(sum(each.statuses.values()) for each in updates) == 80


def test_a_shard_that_is_gone_leaves_a_note_and_no_table(
    shards: ShardSet, pool: Path, tmp_path: Path
) -> None:
    (pool / "00001.tar").unlink()
    out = tmp_path / "out"
    results, _ = _run(_worker(out, shards), [Job(shard) for shard in shards.shards])
    assert [result.outcome for result in results] == ["scored", "unreadable", "scored", "scored"]
    note = json.loads((out / "00001.unreadable.json").read_text())
    assert "00001.tar does not exist" in note["source_error"]
    assert not (out / "00001.parquet").exists()


def test_a_shard_that_another_run_finished_is_passed_over(shards: ShardSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(_worker(out, shards), [Job(shards.shards[2])])
    before = (out / "00002.parquet").read_bytes()
    other = _worker(out, shards)
    other.run_id = "another"
    results, _ = _run(other, [Job(shard) for shard in shards.shards])
    assert [result.outcome for result in results] == ["scored", "scored", "finished", "scored"]
    assert (out / "00002.parquet").read_bytes() == before


def test_storage_that_never_answered_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BACKOFF", Backoff(attempts=3, first=0.01))
    names = [f"http://127.0.0.1:9/{index}.tar" for index in range(3)]
    away = ShardSet(
        "http://127.0.0.1:9",
        tuple(Shard(str(index), name, "webdataset") for index, name in enumerate(names)),
    )
    results, _ = _run(_worker(tmp_path / "out", away), [Job(shard) for shard in away.shards])
    why = [result.problem or "" for result in results]
    assert "failed 3 times" in why[0]
    assert all("failed once" in each for each in why[1:])


def test_storage_that_worked_before_is_waited_for_each_time(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BACKOFF", Backoff(attempts=2, first=0.01))
    away = [Shard(str(n), f"http://127.0.0.1:9/{n}.tar", "webdataset") for n in range(2)]
    jobs = [Job(shards.shards[0]), *map(Job, away)]
    results, _ = _run(_worker(tmp_path / "out", shards), jobs)
    assert [result.outcome for result in results] == ["scored", "unreadable", "unreadable"]
    assert all("failed 2 times" in (result.problem or "") for result in results[1:])


def test_what_the_listener_raises_stops_the_work(shards: ShardSet, tmp_path: Path) -> None:
    def stop(update: StatusUpdate) -> None:
        raise PairsiftError("enough")

    out = tmp_path / "out"
    with _worker(out, shards) as worker, pytest.raises(PairsiftError, match="enough"):
        list(worker.run([Job(shard) for shard in shards.shards], stop))
    assert list(out.glob("*.parquet")) == []
