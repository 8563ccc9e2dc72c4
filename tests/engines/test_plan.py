"""Which shards a run scores: its part, what is left, what is retried or scored again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError
from pairsift.engines.local import score_shards
from pairsift.engines.plan import Plan, plan_run
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.scores import ScoreFolder
from pairsift.sources import ShardSet, find_shards
from tests.engines.conftest import tables
from tests.samples import good_samples, write_tar


def _names(plan: Plan, mark: str = "") -> list[str]:
    """Shards of the jobs, or of those with this mark."""
    return [job.shard.name for job in plan.jobs if not mark or getattr(job, mark)]


def _open(shards: ShardSet, out: Path) -> ScoreFolder:
    return ScoreFolder(str(out), HeuristicsScorer().fingerprint, shards.root)


def test_a_plan_is_of_the_shards_without_a_table_in_order(pool: Path, tmp_path: Path) -> None:
    shards = find_shards(str(pool))
    out = tmp_path / "out"
    plan = plan_run(shards, _open(shards, out))
    assert _names(plan) == ["00000", "00001", "00002", "00003"]
    assert (plan.shards, plan.skipped) == (4, 0)
    assert list(out.iterdir()) == []  # nothing is written
    _score(pool, out, HeuristicsScorer(), part=(2, 2))
    plan = plan_run(shards, _open(shards, out))
    assert _names(plan) == ["00000", "00002"]
    assert (plan.shards, plan.skipped) == (4, 2)
    plan = plan_run(shards, _open(shards, out), part=(2, 2))
    assert (plan.jobs, plan.shards, plan.skipped) == ((), 2, 2)


def test_a_shard_that_could_not_be_read_is_tried_again(pool: Path, tmp_path: Path) -> None:
    whole = (pool / "00001.tar").read_bytes()
    (pool / "00001.tar").write_bytes(b"no tar" * 500)
    out = tmp_path / "out"
    _score(pool, out, HeuristicsScorer())
    (pool / "00001.tar").write_bytes(whole)
    shards = find_shards(str(pool))
    plan = plan_run(shards, _open(shards, out))
    assert _names(plan) == _names(plan, "noted") == ["00001"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["00002.tar"], r"^1 shard has changed .*\(00002: [^;]*\). Score"),
        (["00000.tar", "00002.tar"], r"^2 shards have .*\(00000: .*; 00002: [^;]*\). Score"),
        ([f"0000{n}.tar" for n in range(3)], r"^3 shards have .*; 00002: [^;]*\). Score"),
        ([f"0000{n}.tar" for n in range(4)], r"^4 shards have .*; 00002: [^;]*; \.\.\.\). Score"),
    ],
)
def test_changed_shards_are_refused_or_scored_again(
    pool: Path, tmp_path: Path, changed: list[str], words: str
) -> None:
    out = tmp_path / "out"
    _score(pool, out, Moody())  # rows fail in each shard
    for name in changed:
        write_tar(pool / name, good_samples(3))
    shards = find_shards(str(pool))
    with pytest.raises(PairsiftError, match=words):
        plan_run(shards, _open(shards, out))
    plan = plan_run(shards, _open(shards, out), rescore_changed=True, retry_failed=True)
    assert _names(plan, "rescore") == [name[:5] for name in changed]
    others = {path.name for path in pool.iterdir()} - {*changed}
    assert _names(plan, "retry") == sorted(name[:5] for name in others)


class Moody(HeuristicsScorer):
    """Heuristics that fail on wide pictures while `moody`, as a device in trouble would."""

    moody = True

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        if self.moody and any(aspect > 1.3 for *_, aspect, _, _ in inputs):
            raise RuntimeError("device lost")
        return super().score_batch(inputs)


def _score(pool: Path, out: Path, scorer: HeuristicsScorer, **options: Any) -> Any:
    return score_shards(find_shards(str(pool)), scorer, str(out), **options)


def test_retry_scores_only_rows_whose_failure_may_pass(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scorer = Moody()
    _score(pool, out, scorer, part=(1, 2))
    before = tables(out)
    statuses = before["00000.parquet"]["status"].to_pylist()
    assert statuses.count("model_error") == 7
    (pool / "00002.tar").touch()
    scorer.moody = False
    summary = _score(pool, out, scorer, part=(1, 2), retry_failed=True)
    assert (summary.skipped, summary.rows, summary.statuses) == (0, 14, {"ok": 14})
    _score(pool, tmp_path / "calm", HeuristicsScorer(), part=(1, 2))
    after = tables(out)
    assert after == tables(tmp_path / "calm")
    for name, table in before.items():
        kept = [
            i for i, status in enumerate(table["status"].to_pylist()) if status != "model_error"
        ]
        assert table.take(kept) == after[name].take(kept)
    again = _score(pool, out, scorer, part=(1, 2), retry_failed=True)
    assert (again.skipped, again.rows) == (2, 0)


def test_retry_leaves_tables_alone_whose_shard_has_changed(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scorer = Moody()
    _score(pool, out, scorer)
    before = (out / "00000.parquet").read_bytes()
    listed = find_shards(str(pool))
    (pool / "00000.tar").write_bytes((pool / "00001.tar").read_bytes())
    scorer.moody = False
    with pytest.raises(PairsiftError, match="1 shard has changed since being scored.*00000"):
        _score(pool, out, scorer, retry_failed=True)
    # The same, changed only after the run has looked.
    summary = score_shards(listed, scorer, str(out), retry_failed=True)
    assert list(summary.unreadable) == ["00000"]
    assert "has changed since it was scored" in summary.unreadable["00000"]
    assert (out / "00000.parquet").read_bytes() == before
    assert not list(out.glob("*.unreadable.json"))
    assert pq.read_table(out / "00001.parquet")["status"].to_pylist().count("ok") == 19


def test_shard_finished_elsewhere_in_the_meantime_is_skipped(pool: Path, tmp_path: Path) -> None:
    """Two runs over the same folder, the other one a step ahead."""
    out, other = tmp_path / "out", tmp_path / "other"
    _score(pool, other, HeuristicsScorer())

    class Ahead(HeuristicsScorer):
        def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
            target = out / "00003.parquet"
            if not target.exists():
                os.link(other / "00003.parquet", target)
            return super().score_batch(inputs)

    summary = _score(pool, out, Ahead())
    assert (summary.skipped, summary.scored, summary.rows) == (1, 3, 60)
    assert tables(out) == tables(other)


def test_unknown_part_of_the_work_is_refused(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="--part 3/2"):
        _score(pool, tmp_path / "out", HeuristicsScorer(), part=(3, 2))
