"""How far a selection agrees with that by full scoring."""

from __future__ import annotations

import pytest

from pairsift.errors import PairsiftError
from pairsift.select.agreement import Agreement, describe_agreement, percent, refuse_disagreement


def test_the_share_is_that_of_each_selection() -> None:
    found = Agreement(audited=500, common=90, either=110, wanted=0.98)
    # Two selections of 100 that share 90: a union of 110.
    assert found.value == pytest.approx(0.9)
    low, high = found.interval
    assert 0.8 < low < 0.9 < high < 0.96
    assert found.to_json()["low"] == low


def test_without_audited_pairs_nothing_is_known() -> None:
    found = Agreement(audited=0, common=0, either=0, wanted=0.98)
    assert found.value is None
    assert found.interval == (0, 1)
    refuse_disagreement(found, 0.98)
    assert "unknown" in describe_agreement(found.to_json())
    assert percent(None) == "nothing"


def test_a_selection_is_refused_only_if_the_whole_interval_is_too_low() -> None:
    refuse_disagreement(Agreement(50, 9, 10, 0.98), 0.98)
    worse = Agreement(5000, 900, 1000, 0.98)
    with pytest.raises(PairsiftError, match=r"only 94\.7 % .*but 98\.0 % is required"):
        refuse_disagreement(worse, 0.98)
    refuse_disagreement(worse, 0.9)
    assert "less than the 98.0 %" in describe_agreement(worse.to_json())
