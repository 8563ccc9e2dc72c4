"""Estimates in words, and the tables, notes and JSON of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pairsift.evaluate.results import (
    ColumnResult,
    Estimate,
    Evaluation,
    SliceResult,
    statistic_title,
)
from pairsift.evaluate.statistics import Interval

NAN = float("nan")


@pytest.mark.parametrize(
    ("estimate", "words", "signed"),
    [
        (Estimate(0.344), "34.4", "+34.4"),
        (Estimate(-0.05), "-5.0", "-5.0"),
        (Estimate(0.344, Interval(0.331, 0.3561)), "34.4 [33.1, 35.6]", "+34.4 [+33.1, +35.6]"),
        (Estimate(0.5, too_few=True), "50.0 [too few]", "+50.0 [too few]"),
        (Estimate(NAN, too_few=True), "-", "-"),
    ],
)
def test_an_estimate_is_told_in_hundredths(estimate: Estimate, words: str, signed: str) -> None:
    assert estimate.text() == words
    assert estimate.text(signed=True) == signed


def test_an_estimate_in_another_unit_and_as_json() -> None:
    estimate = Estimate(0.5, Interval(0.25, 1.0))
    assert estimate.scaled(100) == Estimate(50.0, Interval(25.0, 100.0))
    assert Estimate(0.5, too_few=True).scaled(2) == Estimate(1.0, too_few=True)
    assert estimate.to_json() == {"value": 0.5, "low": 0.25, "high": 1.0}
    assert Estimate(NAN).to_json() == {"value": None, "low": None, "high": None}


def _column(name: str, value: float, ends: tuple[float, float] | None = None, **more: Any) -> Any:
    found = Estimate(value, Interval(*ends) if ends else None)
    statistics: Mapping[str, Estimate] = {"pearson": Estimate(0.1), "tau_b": found}
    return ColumnResult("tiny", name, 1200, statistics, **more)


def _evaluation(**more: Any) -> Evaluation:
    gap = Estimate(-0.02, Interval(-0.03, -0.01))
    columns = [_column("itm", 0.5, (0.4, 0.6)), _column("odf", 0.48, difference=gap)]
    return Evaluation("Agreement", "tau_b", 1200, 300, columns, **more)


def test_the_headline_comes_first_and_alone_has_an_interval() -> None:
    header, rows = _evaluation().header_and_rows()
    assert header == ["scorer", "column", "n", "Kendall tau-b", "Pearson", "minus first"]
    assert rows == [
        ["tiny", "itm", "1,200", "50.0 [40.0, 60.0]", "10.0", ""],
        ["tiny", "odf", "1,200", "48.0", "10.0", "-2.0 [-3.0, -1.0]"],
    ]


def test_one_column_is_compared_with_nothing_and_ties_have_a_column() -> None:
    header, rows = Evaluation(
        "t", "tau_b", 2, 2, [_column("itm", 0.5, ties=0.25)]
    ).header_and_rows()
    assert header[-1] == "ties"
    assert rows[0][-1] == "25.0"
    assert Evaluation("t", "tau_b", 0, 0, []).header_and_rows() == (["scorer", "column", "n"], [])


def _slices() -> list[SliceResult]:
    seeing = [_column("itm", 0.5, (0.4, 0.6)), _column("odf", 0.5)]
    blind = [_column("itm", 0.02, (-0.1, 0.1)), _column("odf", -0.5, (-0.6, -0.4))]
    return [
        SliceResult("language", "en", 700, 100, seeing),
        SliceResult("language", "de", 490, 90, blind, {"tiny": 0.25}),
        SliceResult("language", "fr", 3, 1, []),
        SliceResult("language+domain", "en / a", 3, 1, [seeing[0]], {"tiny": 1.0}),
    ]


def test_slices_are_tables_of_their_own() -> None:
    tables = _evaluation(slices=_slices()).slice_tables()
    assert list(tables) == ["By language", "By language and domain"]
    header, rows = tables["By language"]
    assert header == ["language", "scorer", "n", "Kendall tau-b", "minus first", "note"]
    assert [[row[0], row[1], *row[5:]] for row in rows] == [
        ["en", "tiny itm", ""],
        ["en", "tiny odf", ""],  # without an interval nobody is called blind
        ["de", "tiny itm", "25 % outside scope, blind"],
        ["de", "tiny odf", "25 % outside scope, blind"],
        ["fr", "", "too few"],
    ]
    assert tables["By language and domain"][1][0][5] == "outside scope"


def test_json_has_every_number_and_no_nan() -> None:
    evaluation = _evaluation(slices=_slices(), left_out={"no rating": 2})
    evaluation.columns[1] = replace(evaluation.columns[1], statistics={"tau_b": Estimate(NAN)})
    content = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert content["columns"][0]["tau_b"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert content["columns"][0]["difference_from_first"] is None
    assert content["columns"][1]["tau_b"]["value"] is None
    assert [part["value"] for part in content["slices"]] == ["en", "de", "fr", "en / a"]
    assert [c["blind"] for c in content["slices"][0]["columns"]] == [False, None]
    assert [c["blind"] for c in content["slices"][1]["columns"]] == [True, True]


def test_notes_tell_what_a_reader_must_know() -> None:
    assert _evaluation().notes() == ["1,200 judgments on 300 images; values x 100."]
    few = _evaluation(
        settings={"resamples": 1000, "seed": 7},
        left_out={"no rating": 2000},
        scorers={"tiny": {"failures": {"image_corrupt": 3}}, "clip": {"failures": {}}},
        slices=_slices(),
    )
    few.columns.append(replace(_column("su", 0.1), statistics={"tau_b": Estimate(0.1, None, True)}))
    notes = few.notes()
    assert "1,000 resamples of images, seed 7" in notes[1]
    assert notes[2].startswith("too few: fewer than 10 images")
    assert notes[3] == "Left out: 2,000 (no rating)."
    assert notes[4].startswith("tiny: pairs without a score: 3 image_corrupt (")
    assert "blind: the interval contains the chance level" in notes[5]
    assert len(notes) == 6


def test_the_page_has_a_table_for_the_whole_and_for_each_column_of_slices() -> None:
    page = _evaluation(slices=_slices()).markdown()
    assert page.startswith("# Agreement\n")
    assert "| tiny | itm | 1,200 | 50.0 [40.0, 60.0] | 10.0 |  |" in page
    assert page.index("## By language\n") < page.index("## By language and domain\n")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("tau_b", "Kendall tau-b"),
        ("accuracy", "accuracy"),
        ("accuracy/HC", "HC"),
        ("accuracy/a/b", "a/b"),
    ],
)
def test_statistics_have_titles(name: str, title: str) -> None:
    assert statistic_title(name) == title
