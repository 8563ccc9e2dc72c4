"""What runs count: failures here, failures the source declares, and runs that scored nothing."""

from __future__ import annotations

import pytest

from pairsift import PairsiftError
from pairsift.engines.base import (
    FailureLimit,
    RunSummary,
    ShardResult,
    StatusUpdate,
    describe_statuses,
)
from pairsift.pair import Status
from pairsift.scorers.base import Prepared


def _summary(**statuses: int) -> RunSummary:
    summary = RunSummary("out", 1, 0, first_failures=["0/a: image_missing (no image)"])
    summary.add(ShardResult("0", "scored", sum(statuses.values()), statuses), 1.0)
    return summary


def test_declared_failures_count_apart() -> None:
    summary = _summary(ok=10, source_failed=200, image_corrupt=3)
    assert (summary.failures, summary.declared) == (3, 200)
    assert summary.to_json()["declared"] == 200
    words = describe_statuses(summary.statuses)
    assert words == "3 failed: 3 image_corrupt; 200 marked failed by the source"


def test_declared_failures_do_not_trip_the_guard() -> None:
    limit = FailureLimit(0.05)
    for _ in range(20):
        limit.add(StatusUpdate({"ok": 60, "source_failed": 900, "caption_empty": 3}))
    with pytest.raises(PairsiftError, match="--max-failure-rate 0.05") as caught:
        limit.add(StatusUpdate({"caption_empty": 10}, ["0/k: caption_empty"]))
    assert "70 of the first 1270 samples failed" in str(caught.value)
    assert "source_failed" not in str(caught.value)


def test_declared_failures_are_no_first_failures() -> None:
    rows = [
        Prepared("0", "a", None).fail(Status.SOURCE_FAILED, "http 404"),
        Prepared("0", "b\x1b[2J\n", None).fail(Status.IMAGE_CORRUPT, "broken"),
    ]
    update = StatusUpdate.of(rows)
    assert update.statuses == {"source_failed": 1, "image_corrupt": 1}
    assert update.failures == [r"0/b\x1b[2J\n: image_corrupt (broken)"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({"image_missing": 1}, "all 1 failed with image_missing (the sample has no image)"),
        ({"image_missing": 2_000}, "all 2,000 failed with image_missing"),
        ({"model_error": 9, "source_failed": 90}, "all 9 failed with model_error"),
        ({"image_missing": 2, "caption_empty": 3}, "all 5 failed: 3 caption_empty, 2 image_m"),
        ({"ok": 1, "image_missing": 2_000}, None),
        ({"source_failed": 7}, None),
        ({}, None),
    ],
)
def test_diagnosis_of_a_run_that_scored_nothing(
    statuses: dict[str, int], expected: str | None
) -> None:
    found = _summary(**statuses).diagnosis()
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected in found
        assert "first: 0/a: image_missing (no image)" in found


def test_failures_by_reason_come_with_the_command_that_shows_them() -> None:
    summary = _summary(ok=5, image_missing=2, caption_empty=30)
    summary.out = "a folder"
    first, second, command = summary.failure_lines()
    assert "30  caption_empty: the caption has only white space" in first
    assert "2  image_missing" in second
    assert command == "to see them: pairsift status 'a folder' --failures"
    assert _summary(ok=5).failure_lines() == []
