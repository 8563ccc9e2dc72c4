"""Scales, metrics, and the names of metrics."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.metrics import (
    METRICS,
    MOST_ANSWERS,
    Answer,
    Metric,
    Scale,
    known_metric,
    parse_metrics,
    split_names,
)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "two answers or more, not 0"),
        ([(1, ["yes"])], "two answers or more, not 1"),
        ([(1, ["yes"]), (0, [])], "the answer with the value 0 has no spelling"),
        ([(1, ["yes"]), (0, [" \n"])], "has no letter"),
        ([(1, ["yes"]), (0, ["yes"])], "'yes' stands there twice"),
        ([(1, ["yes", "yes"]), (0, ["no"])], "'yes' stands there twice"),
        ([(1, ["yes"]), (1.0, ["ja"])], "two answers have the value 1"),
        ([(math.nan, ["yes"]), (0, ["no"])], "the value nan of an answer is out of range"),
        ([(-math.inf, ["yes"]), (0, ["no"])], "out of range"),
        ([(2**24 + 1, ["yes"]), (0, ["no"])], "out of range"),
        ([(n, [str(n)]) for n in range(MOST_ANSWERS + 1)], "1,002 answers are too many"),
    ],
)
def test_a_scale_that_cannot_be_answered_is_refused(
    answers: list[tuple[float, list[str]]], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        Scale(tuple(Answer(value, tuple(texts)) for value, texts in answers))


def test_answers_are_kept_in_the_order_of_their_values() -> None:
    scale = Scale.listed({"good": 3, "bad": -1, "fair": 0.5})
    assert scale.values == (-1.0, 0.5, 3.0)
    assert (scale.low, scale.high, scale.whole) == (-1.0, 3.0, False)
    assert scale.describe() == "'bad', 'fair' or 'good'"
    assert Scale.listed({"yes": 1, "no": 0}).whole


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (5, 5, "low must be below high"),
        (5, 1, "low must be below high"),
        (0, 10**400, "low must be below high"),
        (0, MOST_ANSWERS, "are 1,002 answers; there may be 1,001"),
    ],
)
def test_a_range_of_too_few_or_too_many_numbers_is_refused(low: int, high: int, words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        Scale.range(low, high)


def test_the_largest_range_has_every_number_between() -> None:
    scale = Scale.range(-500, 500)
    assert len(scale.answers) == MOST_ANSWERS
    assert scale.answers[0].spellings == ("-500",)
    assert scale.describe() == "a whole number from -500 to 500"


def test_the_nearest_answer_is_the_larger_one_of_two_as_near() -> None:
    scale = Scale.listed({"no": 0, "half": 50, "yes": 100})
    nearest = [scale.nearest(value) for value in (-9, 0, 24.9, 25, 26, 75, 1e9)]
    assert nearest == [0, 0, 0, 1, 1, 2, 2]


def test_points_reach_from_0_at_the_low_end_to_100_at_the_high_end() -> None:
    scale = Scale.range(1, 5)
    assert [scale.points(value) for value in (1, 2, 5)] == [0.0, 25.0, 100.0]


@pytest.mark.parametrize(
    "scale",
    [
        Scale.range(-3, 3),
        Scale.listed({"yes": 1, "no": 0}),
        Scale((Answer(0.5, ("a bit", "ein wenig")), Answer(-2, ("нет",)))),
    ],
)
def test_a_scale_comes_back_from_json(scale: Scale) -> None:
    assert Scale.from_json(json.loads(json.dumps(scale.to_json()))) == scale


@pytest.mark.parametrize(
    "content",
    [
        None,
        "1 to 5",
        {},
        {"low": 1},
        {"low": 1, "high": 5, "step": 2},
        {"low": 1.0, "high": 5},
        {"low": False, "high": 5},
        [1, 2],
        [{"value": 1, "spellings": ["yes"], "weight": 2}],
        [{"value": True, "spellings": ["yes"]}, {"value": 0, "spellings": ["no"]}],
        [{"value": "1", "spellings": ["yes"]}, {"value": 0, "spellings": ["no"]}],
        [{"value": 1, "spellings": "yes"}, {"value": 0, "spellings": ["no"]}],
        [{"value": 1, "spellings": [1]}, {"value": 0, "spellings": ["no"]}],
        [{"value": 10**400, "spellings": ["yes"]}, {"value": 0, "spellings": ["no"]}],
    ],
    ids=lambda content: str(content)[:50],
)
def test_what_is_no_scale_is_refused_in_a_sentence(content: Any) -> None:
    with pytest.raises(PairsiftError, match="answer"):
        Scale.from_json(content)


def test_a_metric_comes_back_from_json() -> None:
    metric = Metric("shown", "Shown", "what is shown", "Is it?", Scale.range(1, 5), "lower")
    assert Metric.from_json("shown", json.loads(json.dumps(metric.to_json()))) == metric
    older = {**metric.to_json()}
    del older["aspect"]
    assert Metric.from_json("shown", older).aspect == ""


@pytest.mark.parametrize(
    "change", [{"better": "bigger"}, {"better": None}, {"answers": None}, {"title": ...}]
)
def test_a_metric_that_cannot_be_read_is_refused(change: dict[str, Any]) -> None:
    content = {**METRICS["itm"].to_json(), **change}
    content = {name: value for name, value in content.items() if value is not ...}
    with pytest.raises(PairsiftError, match="what the column itm means|answers must be"):
        Metric.from_json("itm", content)


def test_names_are_parsed_in_the_order_of_the_known_ones() -> None:
    assert parse_metrics(None) == ("itm", "odf", "ctq", "su")
    assert parse_metrics(" odf , itm,odf,") == ("itm", "odf")
    assert parse_metrics(["b", "a"], known=["a", "b", "c"]) == ("a", "b")
    assert split_names(" a ,, b ") == split_names(["a ", "", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("itm,ODF", "unknown metric 'ODF'; choose from itm, odf, ctq, su, joined by commas"),
        (" , ", "no metric given; choose from"),
        ([], "no metric given"),
    ],
)
def test_other_names_are_refused_with_the_known_ones(names: Any, words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        parse_metrics(names)


def test_a_metric_that_only_its_name_is_known_of_is_titled_by_it() -> None:
    assert known_metric("itm") is METRICS["itm"]
    metric = known_metric("_my__fine_metric")
    assert (metric.title, metric.aspect, metric.asks) == ("My fine metric", "my fine metric", "")
