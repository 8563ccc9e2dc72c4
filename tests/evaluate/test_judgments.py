"""Ratings and preferences: their pairs, and the rows that are kept."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift.evaluate.judgments import Preferences, Ratings


def _ratings() -> Ratings:
    return Ratings(
        ["a.jpg", "b.jpg", "a.jpg"],
        ["one", "two", "one"],
        np.array([1.0, 2.0, 3.0]),
        given={"clip": np.array([0.1, np.nan, 0.3])},
        left_out={"no rating": 4},
        labels={"language": ["en", "de", "fr"]},
    )


def _preferences() -> Preferences:
    return Preferences(
        ["a.jpg", "b.jpg"], ["one", "two"], ["eins", "zwei"], np.array([1.0, 0.5]), ["HC", "MM"],
        labels={"language": ["en", "de"]},
    )  # fmt: skip


def test_pairs_come_with_repeats_and_both_captions() -> None:
    assert list(_ratings().pairs()) == [("a.jpg", "one"), ("b.jpg", "two"), ("a.jpg", "one")]
    assert list(_preferences().pairs()) == [
        ("a.jpg", "one"), ("b.jpg", "two"), ("a.jpg", "eins"), ("b.jpg", "zwei"),
    ]  # fmt: skip


def test_rows_that_are_taken_keep_all_their_columns() -> None:
    found = _ratings().take(np.array([True, False, True]))
    assert (len(found), found.images, found.captions) == (2, ["a.jpg"] * 2, ["one"] * 2)
    assert found.ratings.tolist() == [1, 3]
    assert found.given["clip"].tolist() == [0.1, 0.3]
    assert found.labels == {"language": ["en", "fr"]}
    assert found.left_out == {"no rating": 4}
    other = _preferences().take(np.array([False, True]))
    assert (other.images, other.first, other.second) == (["b.jpg"], ["two"], ["zwei"])
    assert (other.preferred.tolist(), other.categories) == ([0.5], ["MM"])
    assert other.labels == {"language": ["de"]}


@pytest.mark.parametrize("judgments", [_ratings(), _preferences()], ids=["ratings", "preferences"])
def test_rows_that_are_left_out_are_counted_by_reason(judgments: Ratings | Preferences) -> None:
    first = np.arange(len(judgments)) == 0
    found = judgments.keep(first, "image missing")
    assert len(found) == 1
    assert found.left_out == {**judgments.left_out, "image missing": len(judgments) - 1}
    assert found.keep(np.array([True]), "another reason") is found
    none = judgments.keep(~first & first, "image missing")
    assert (len(none), list(none.pairs())) == (0, [])
