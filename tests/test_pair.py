"""The closed list of statuses."""

from __future__ import annotations

import re
from pathlib import Path

from pairsift.pair import Status, counts_in_words

ROOT = Path(__file__).parent.parent


def test_statuses_keep_their_places() -> None:
    """Score tables store the place in the list, so a new status comes last."""
    assert [status.value for status in Status][:15] == [
        "ok", "image_missing", "image_corrupt", "image_too_large", "caption_missing",
        "caption_empty", "caption_invalid", "caption_too_large", "duplicate_key",
        "shard_truncated", "read_error", "model_error", "image_unsupported", "source_failed",
        "row_invalid",
    ]  # fmt: skip


def test_every_status_has_a_meaning_and_a_row_in_the_documents() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert {status.value for status in Status} <= listed
    assert len({status.meaning for status in Status}) == len(Status)


def test_counts_say_what_a_status_means_and_leave_other_reasons_alone() -> None:
    assert counts_in_words({"image_missing": 1200, "other": 1}) == (
        "1,200 image_missing (the sample has no image), 1 other"
    )
