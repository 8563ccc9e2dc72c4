"""Under which names a cascade stores the columns of its scorers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pairsift import load_scorer
from pairsift.cascade.columns import seen_by, stored_names
from pairsift.errors import PairsiftError


def _scorer(name: str, *columns: str) -> Any:
    return SimpleNamespace(name=name, columns=[SimpleNamespace(name=each) for each in columns])


def test_a_cheap_scorers_column_is_renamed_where_the_full_one_has_the_same() -> None:
    stored = stored_names(
        [
            _scorer("heuristics", "width"),
            _scorer("pairsift-tiny", "itm", "odf"),
            _scorer("m", "itm"),
        ]
    )
    assert stored == [
        {"width": "width"}, {"itm": "pairsift_tiny_itm", "odf": "odf"}, {"itm": "itm"},
    ]  # fmt: skip
    assert seen_by(0, stored) == {"width": "width"}
    assert seen_by(1, stored) == {"width": "width", "itm": "pairsift_tiny_itm", "odf": "odf"}
    assert seen_by(2, stored)["itm"] == "itm"
    assert seen_by(2, stored)["pairsift_tiny_itm"] == "pairsift_tiny_itm"


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(PairsiftError, match="same name: a_x"):
        stored_names([_scorer("a", "x"), _scorer("b", "a_x"), _scorer("c", "x")])


def test_two_scorers_of_one_name_are_refused() -> None:
    with pytest.raises(PairsiftError, match="same name: heuristics_aspect_ratio"):
        stored_names([load_scorer("heuristics")] * 3)
