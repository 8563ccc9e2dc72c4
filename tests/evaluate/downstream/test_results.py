"""Means over seeds, and differences from the baselines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pairsift.evaluate.downstream.results import Downstream, mean_over_seeds, summarise


def test_intervals_are_students_t() -> None:
    found = mean_over_seeds([0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.2)
    assert found.interval is not None
    # 4.3027 x 0.1 / sqrt(3)
    assert found.interval.high - 0.2 == pytest.approx(0.24841, abs=1e-4)
    assert mean_over_seeds([0.5]).interval is None


def _run(name: str, keep: float, seed: int, **more: Any) -> dict[str, Any]:
    scores = {"retrieval": 0.4, "classification": 0.5, "text_to_image_r1": 0.25}
    return {
        "filter": name, "keep": keep, "seed": seed, "pairs": 30, "scores": scores, "quality": None,
    } | more  # fmt: skip


QUALITY = {
    "precision": 0.75, "noise_dropped": 0.5, "clean_kept": 1.0,
    "kept_of_kind": {"own": 1.0, "near_duplicate": 0.5},
}  # fmt: skip


def test_differences_are_paired_by_seed() -> None:
    runs = [_run("none", 1.0, s, scores={"retrieval": v}) for s, v in enumerate((0.1, 0.5))]
    runs += [_run("good", 0.3, s, scores={"retrieval": v}) for s, v in enumerate((0.2, 0.6))]
    found = summarise(runs)[1].minus["none"]["retrieval"]
    assert found.value == pytest.approx(0.1)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.1)


def test_a_filter_is_summarised_over_its_seeds_at_each_fraction() -> None:
    runs = [_run("good", keep, seed, pairs=10 + seed) for seed in (0, 1) for keep in (0.3, 0.1)]
    found = summarise(runs)
    assert [(result.filter, result.keep, result.pairs) for result in found] == [
        ("good", 0.3, 10), ("good", 0.1, 10),
    ]  # fmt: skip
    assert found[0].minus == {}
    assert found[0].quality == found[0].kept_of_kind == {}


def test_a_seed_that_the_baseline_has_not_is_left_out_of_the_difference() -> None:
    runs = [_run("none", 1.0, 0, scores={"retrieval": 0.1})]
    runs += [_run("good", 0.3, seed, scores={"retrieval": v}) for seed, v in enumerate((0.3, 0.9))]
    minus = summarise(runs)[1].minus["none"]
    assert minus["retrieval"].value == pytest.approx(0.2)
    assert minus["retrieval"].interval is None
    assert list(minus) == ["retrieval"]
    # The baseline at the same fraction is preferred; one without it or the whole gives none.
    runs.append(_run("none", 0.3, 0, scores={"retrieval": 0.2}))
    assert summarise(runs)[1].minus["none"]["retrieval"].value == pytest.approx(0.1)
    assert summarise(runs[1:3], ["none"])[0].minus == {}


def _comparison() -> Downstream:
    runs = [_run("none", 1.0, 0, quality=QUALITY), _run("a|b", 0.3, 0, quality=QUALITY)]
    return Downstream(summarise([*runs, _run("labels", 0.3, 0)]), pairs=1440, seeds=1)


def test_the_main_table_has_headlines_before_the_tests_they_are_made_of() -> None:
    header, rows = _comparison().header_and_rows()
    assert header == [
        "filter", "kept", "pairs", "clean among kept", "noise dropped",
        "retrieval", "classification", "text to image r1",
    ]  # fmt: skip
    assert rows[1] == ["a|b", "30 %", "30", "75.0", "50.0", "40.0", "50.0", "25.0"]
    assert rows[2][3:5] == ["-", "-"]  # without labels


def test_differences_and_kinds_have_tables_of_their_own() -> None:
    comparison = _comparison()
    header, rows = comparison.differences()
    assert header == ["filter", "kept", "retrieval minus none", "classification minus none"]
    assert rows[0] == ["none", "100 %", "", ""]
    assert rows[1] == ["a|b", "30 %", "+0.0", "+0.0"]
    header, rows = comparison.kinds()
    assert header == ["filter", "kept", "own", "near duplicate"]
    assert rows[1:] == [["a|b", "30 %", "100.0", "50.0"], ["labels", "30 %", "-", "-"]]


def test_the_page_has_what_there_is_and_json_all_of_it() -> None:
    comparison = _comparison()
    page = comparison.markdown()
    assert "| a\\|b | 30 % | 30 | 75.0 |" in page
    assert "## Differences, paired by seed" in page
    assert "Pool of 1,440 pairs; values x 100; means over 1 seeds." in page
    assert "labels: keeps by the true labels" in page
    assert "Student's t" not in page  # of one seed there is no interval
    content = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert content["filters"][1]["minus"]["none"]["retrieval"]["value"] == 0
    assert content["filters"][1]["kept_of_kind"] == {"own": 1.0, "near_duplicate": 0.5}
    bare = Downstream(summarise([_run("a", 0.3, s, scores={"x": 0.5}) for s in (0, 1)]), 9, 2)
    assert "Differences" not in bare.markdown()
    assert "Student's t" in bare.markdown()
    assert Downstream([], 0, 1).header_and_rows() == (["filter", "kept", "pairs"], [])
