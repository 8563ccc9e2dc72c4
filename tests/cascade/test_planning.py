"""Making a plan: what it is asked for, the sample it draws, the thresholds it finds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.cascade.plan import Stage
from pairsift.cascade.planning import PlanRequest, draw_sample, make_plan, only_column
from pairsift.cascade.sampling import draw, is_audited
from pairsift.progress import MessageListener
from pairsift.scorers.base import Scorer
from pairsift.sources import ShardSet, find_shards, open_shard
from tests.cascade.conftest import SAMPLES, SHARDS
from tests.samples import CAPTION, jpeg, write_tar

CHEAP, FULL = Stage("heuristics", "caption_characters"), Stage("heuristics", "caption_words")


@pytest.fixture(scope="module")
def shards(pool: Path) -> ShardSet:
    return find_shards(str(pool))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": None}, "either --keep, a fraction, or --at, a value"),
        ({"keep": 0.3, "at": 5.0}, "either --keep"),
        ({"keep": 0.0}, "--keep 0 is not a fraction"),
        ({"keep": 1.0}, "--keep 1 is not a fraction"),
        ({"keep": float("nan")}, "--keep nan is not a fraction"),
        ({"agreement": 1.0}, "--agreement 1 is not a fraction"),
        ({"agreement": 98}, "--agreement 98 is not a fraction"),
        ({"audit": 0.0}, "--audit 0 must be above 0 and at most 0.5"),
        ({"audit": 0.6}, "--audit 0.6 must be above 0 and at most 0.5"),
    ],
)
def test_a_request_out_of_range_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        PlanRequest(**options)


def test_the_sample_has_all_pairs_but_the_audited_ones_if_it_is_large(shards: ShardSet) -> None:
    request = PlanRequest(audit=0.3, seed=5)
    sample, read = draw_sample(shards, 10_000, request)
    assert read == SHARDS
    expected = {
        (pair.shard, pair.key)
        for shard in shards.shards
        for pair in open_shard(shard)
        if not is_audited(draw(5, pair.shard, pair.key), 0.3)
    }
    drawn = [(pair.shard, pair.key) for pair in sample]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == expected
    assert 0 < len(expected) < SHARDS * SAMPLES


def test_a_small_sample_is_of_all_shards_and_the_seed_decides_it(shards: ShardSet) -> None:
    drawn = [
        [(pair.shard, pair.key) for pair in draw_sample(shards, 12, PlanRequest(seed=seed))[0]]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 12
    assert {shard for shard, _ in drawn[0]} == {"00000", "00001", "00002"}


def test_shards_are_read_until_there_are_enough_pairs(tmp_path: Path) -> None:
    for number in range(20):
        count = 1 if number % 2 else 8
        samples = {f"{number}-{n}": {"jpg": jpeg(32, 32), "txt": CAPTION} for n in range(count)}
        write_tar(tmp_path / f"{number:02}.tar", samples)
    shards = find_shards(str(tmp_path))
    sample, read = draw_sample(shards, 20, PlanRequest(audit=0.001))
    assert len(sample) == 20
    assert 10 <= read < 20  # at most two pairs of each


def test_a_scorer_with_one_number_decides_by_it_and_others_must_be_told() -> None:
    one = SimpleNamespace(columns=[pa.field("glance", pa.float32()), pa.field("why", pa.string())])
    assert only_column(cast(Scorer, one)) == "glance"
    with pytest.raises(PairsiftError, match="caption_words.*by which number.*--cheap-by"):
        only_column(load_scorer("heuristics"))


def test_a_plan_holds_what_was_measured(shards: ShardSet) -> None:
    told: list[str] = []
    plan = make_plan(
        shards, [CHEAP], FULL, PlanRequest(keep=0.4, agreement=0.8), pairs=90,
        listener=MessageListener(told.append),
    )  # fmt: skip
    assert told == [
        "drawing 90 of the pairs of 3 shards",
        *["heuristics reads 90 pairs"] * 2,
    ]
    ((stage, rule),) = plan.stages
    assert stage.fingerprint == load_scorer("heuristics").fingerprint
    assert rule.low is not None
    assert rule.high is not None
    assert rule.low <= rule.high
    learned = plan.learned
    assert (learned["pairs"], learned["shards"]) == (88, 3)  # two of them have no image
    assert 0.3 < learned["kept"] / 88 < 0.6
    assert learned["open"] == pytest.approx(1 - sum(learned["settled"]))
    trade_off = learned["open_at_agreement"]
    assert list(trade_off) == ["0.8", "0.9", "0.95", "0.97", "0.98", "0.99", "0.995"]
    assert list(trade_off.values()) == sorted(trade_off.values())
    again = make_plan(shards, [CHEAP], FULL, PlanRequest(keep=0.4, agreement=0.8), pairs=90)
    assert again.digest == plan.digest


def test_a_plan_at_a_value_keeps_from_it_on(shards: ShardSet) -> None:
    plan = make_plan(shards, [CHEAP], FULL, PlanRequest(keep=None, at=8.0), pairs=90)
    assert (plan.threshold, plan.cut) == (8.0, "caption_words >= 8")
    with pytest.raises(PairsiftError, match="keeps"):
        make_plan(shards, [CHEAP], FULL, PlanRequest(keep=None, at=99.0), pairs=90)


def test_pairs_that_no_scorer_can_read_make_no_plan(tmp_path: Path) -> None:
    samples = {f"{n}": {"jpg": b"no image", "txt": CAPTION} for n in range(4)}
    shards = find_shards(str(write_tar(tmp_path / "a.tar", samples)))
    with pytest.raises(PairsiftError, match="none of 4 pairs drawn could be scored by all of heur"):
        make_plan(shards, [CHEAP], FULL)


def test_the_old_way_to_be_told_warns_and_works(shards: ShardSet) -> None:
    told: list[str] = []
    with pytest.warns(DeprecationWarning, match="listener=MessageListener"):
        make_plan(shards, [CHEAP], FULL, PlanRequest(keep=0.4), pairs=30, tell=told.append)
    assert told[0] == "drawing 30 of the pairs of 3 shards"
