"""A pair looked at closely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pairsift import Pair, PairsiftError, load_scorer
from pairsift.explain import BINS, Explanation, behind_the_answer, explain
from tests.samples import CAPTION, jpeg


def _explanation(probabilities: Sequence[float]) -> Explanation:
    return Explanation("itm", "", "", 0.0, 0, 0.0, tuple(probabilities))


def test_the_plot_is_highest_at_the_most_likely_scores() -> None:
    p = np.zeros(101)
    p[[10, 80]] = 0.25, 0.75
    plot = _explanation(p).plot()
    assert len(plot) == BINS
    assert plot[5] == "▃"
    assert plot[40] == "█"
    assert plot.replace("▃", " ").replace("█", " ").strip() == ""


def test_highest_score_belongs_to_the_last_block() -> None:
    p = np.zeros(101)
    p[100] = 1.0
    assert _explanation(p).plot() == " " * (BINS - 1) + "█"


@pytest.mark.slow
def test_agrees_with_the_score_table() -> None:
    scorer = load_scorer("pairsift-tiny", metrics="itm,ctq")
    found = explain(jpeg(), CAPTION, scorer)
    [row] = scorer.score([Pair("k", jpeg(), CAPTION)]).to_pylist()
    assert [item.metric for item in found] == ["itm", "ctq"]
    for item in found:
        assert sum(item.probabilities) == pytest.approx(1, abs=1e-5)
        assert item.score == pytest.approx(row[item.metric], abs=1e-3)
        assert item.std == pytest.approx(row[f"{item.metric}_std"], abs=1e-3)
        assert item.top == row[f"{item.metric}_top"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("85", None),
        (" 85.\n", None),
        ("85\nThe cat is there, the hat is not.", "The cat is there, the hat is not"),
        ("85/100: a good match", "a good match"),
        ("No number at all", "No number at all"),
    ],
)
def test_reasons_stand_behind_the_answer(answer: str, reason: str | None) -> None:
    assert behind_the_answer(answer) == reason


def test_plain_scorers_have_nothing_to_explain() -> None:
    with pytest.raises(PairsiftError, match="'heuristics' returns only numbers"):
        explain(jpeg(), CAPTION, load_scorer("heuristics"))


def test_bad_image_is_told() -> None:
    with pytest.raises(PairsiftError, match="image_corrupt"):
        explain(b"no image", CAPTION, load_scorer("pairsift-tiny"))
