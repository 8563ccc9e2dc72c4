"""Parts of the report's page."""

from __future__ import annotations

import pytest

from pairsift.report.columns import ScoreColumn
from pairsift.report.page import format_score


@pytest.mark.parametrize(
    ("width", "value", "shown"),
    [
        (50.0, 71.26, "71"),
        (1.0, 71.26, "71.3"),
        (0.01, 0.26449, "0.264"),
        (1e-8, 0.9999998807907104, "1.000"),  # all rows have nearly one value
        (1e-8, 3.21e-7, "3.210e-07"),
    ],
)
def test_a_score_fits_a_card(width: float, value: float, shown: str) -> None:
    assert format_score(ScoreColumn("s", "S", "", 0, width, 20), value) == shown
