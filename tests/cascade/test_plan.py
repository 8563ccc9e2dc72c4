"""The plan of a cascade: its file, its rules, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.cascade.plan import Plan, Stage, Thresholds, describe_fingerprint

NAN = float("nan")
PLAN = Plan(
    stages=(
        (
            Stage("heuristics", "caption_words", fingerprint={"scorer": "heuristics"}),
            Thresholds(6.0, 11.0, (2.0, 14.0), (150.0, 750.0)),
        ),
    ),
    full=Stage("tiny-glance", "glance", {"device": "cpu"}, {"scorer": "tiny-glance"}),
    keep=0.4,
    at=None,
    threshold=430.0,
    agreement=0.9,
    audit=0.2,
    seed=1,
)


@pytest.fixture
def content() -> dict[str, Any]:
    """A plan as it stands in its file."""
    read: dict[str, Any] = json.loads(json.dumps(PLAN.to_json()))
    return read


def test_a_plan_is_the_same_behind_a_file(tmp_path: Path) -> None:
    plan = replace(PLAN, keep=None, at=3.0)
    path = tmp_path / "plans" / "plan.json"
    plan.write(path)
    found = Plan.load(path)
    assert (found, found.digest) == (plan, plan.digest)
    replace(plan, seed=2).write(path)  # a plan may replace a plan
    assert Plan.load(path).seed == 2


def test_the_digest_is_of_what_decides_a_score(content: dict[str, Any]) -> None:
    plan = PLAN
    assert Plan.from_json({**content, "learned": {"pairs": 7}}, "x").digest == plan.digest
    for change in (
        {"audit": 0.3},
        {"seed": 2},
        {"threshold": 431.0},
        {"full": {**content["full"], "fingerprint": {"scorer": "other"}}},
    ):
        assert Plan.from_json({**content, **change}, "x").digest != plan.digest


@pytest.mark.parametrize(
    "change",
    [
        {"cascade": 2},
        {"cascade": ...},
        {"stages": 5},
        {"stages": [[{"scorer": "heuristics"}, {"low": 1, "high": 2}]]},
        {"stages": [[{"scorer": "heuristics", "by": "x"}, {"low": 1, "high": 2}]]},
        {"full": "pairsift-tiny"},
        {"threshold": ...},
        {"more": 1},
    ],
    ids=str,
)
def test_what_is_no_plan_is_refused(content: dict[str, Any], change: dict[str, Any]) -> None:
    content = {name: v for name, v in {**content, **change}.items() if v is not ...}
    with pytest.raises(PairsiftError, match="p.json is not a cascade plan of this version"):
        Plan.from_json(content, "p.json")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.json", None, "there is no plan .*none.json; make one with `pairsift cascade SHARDS"),
        ("bad.json", '{"cascade": 1}', "bad.json is not a cascade plan"),
        ("list.json", "[1, 2]", "list.json is not a cascade plan"),
        ("cut.json", '{"cascade": ', "cut.json is not readable JSON"),
        ("latin.json", b'{"\xe9": 1}', "latin.json is not readable JSON"),
        ("folder/", None, "is a folder; a plan is a file"),
    ],
)
def test_a_file_that_is_no_plan_is_named(
    tmp_path: Path, name: str, text: str | bytes | None, words: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PairsiftError, match=words):
        Plan.load(f"{tmp_path}/{name}")


def test_a_plan_replaces_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text('{"mine": 1}')
    with pytest.raises(PairsiftError, match="plan of a cascade"):
        PLAN.write(path)
    assert path.read_text() == '{"mine": 1}'


def test_the_scorer_cascade_asks_for_its_plan() -> None:
    with pytest.raises(PairsiftError, match="needs the option 'plan'"):
        load_scorer("cascade")


def test_the_cut_in_words_and_the_share_that_is_read() -> None:
    plan = PLAN
    assert plan.cut == "the best 40 % by glance"
    assert replace(plan, keep=None, at=66.5).cut == "glance >= 66.5"
    assert [plan.read(left) for left in (0.0, 0.5, 1.0)] == [0.2, 0.6, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "given_up", "taken"),
    [
        (3.0, 7.0, [True, False, False, False, False], [False, False, False, True, False]),
        (None, 7.0, [False] * 5, [False, False, False, True, False]),
        (3.0, None, [True, False, False, False, False], [False] * 5),
        (None, None, [False] * 5, [False] * 5),
    ],
)
def test_below_low_is_given_up_and_from_high_on_is_taken(
    low: float | None, high: float | None, given_up: list[bool], taken: list[bool]
) -> None:
    value = np.array([2.9, 3.0, 6.9, 7.0, NAN])
    rule = Thresholds(low, high)
    assert rule.given_up(value).tolist() == given_up
    assert rule.taken(value).tolist() == taken


@pytest.mark.parametrize("points", [((0.0, 100.0), (10.0, 90.0)), ((), ())])
def test_an_estimate_stays_on_its_side_of_the_cut(
    points: tuple[tuple[float, ...], tuple[float, ...]],
) -> None:
    rule = Thresholds(20.0, 70.0, *points)
    value = np.array([0.0, 19.9, 70.0, 100.0, 1e6])
    found = rule.estimate(value, threshold=50.0)
    assert found.dtype == np.float32
    assert (found[:2] < np.float32(50)).all()
    assert (found[2:] >= np.float32(50)).all()
    assert (np.diff(found) >= 0).all()
    if points[0]:
        assert found.tolist() == pytest.approx([10, 25.92, 66, 90, 90])
    # Where the points are all on the other side, the cut is the limit.
    high = rule.estimate(np.array([10.0, 80.0]), threshold=99.0)
    assert high[0] < high[1] == np.float32(99)
    assert rule.estimate(np.empty(0), 50.0).shape == (0,)


def test_fields_of_a_fingerprint_have_their_scorer_in_front() -> None:
    stages = [
        Stage("heuristics", "x", fingerprint={"scorer": "heuristics", "scorer_version": "2"}),
        Stage("clip", "y", fingerprint={"scorer": "clip", "checkpoint": "a"}),
    ]
    assert describe_fingerprint(stages) == {
        "heuristics.scorer_version": "2", "clip.checkpoint": "a",
    }  # fmt: skip
