"""`status` as typed: its forms, and options that do not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pairsift import PairsiftError
from pairsift.cli import app
from pairsift.pair import Status
from tests.score_folders import score_folder, score_table


@pytest.fixture
def scores(tmp_path: Path) -> str:
    """A table of six rows, of which five failed."""
    statuses = [Status.OK, *[Status.IMAGE_CORRUPT] * 3, *[Status.CAPTION_EMPTY] * 2]
    table = score_table("a", list("klmnop"), {"itm": [1.0] * 6}, statuses=statuses)
    facts = {"rows": 6, "statuses": {"ok": 1, "image_corrupt": 3, "caption_empty": 2}}
    return score_folder(tmp_path / "scores", {"a": table}, facts={"a": facts})


def _status(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["status", *arguments])
    if found.exception is not None:
        raise found.exception
    return found.stdout


def test_the_progress_is_text_json_or_metrics(scores: str) -> None:
    assert "5" in _status(scores)
    content = json.loads(_status(scores, "--json", "--all"))
    assert content["statuses"] == {"ok": 1, "image_corrupt": 3, "caption_empty": 2}
    assert "# TYPE pairsift_" in _status(scores, "--prometheus")


@pytest.mark.parametrize(("limit", "listed"), [(1, 2), (2, 4), (10, 5)])
def test_failures_are_listed_up_to_a_limit_for_each_status(
    scores: str, limit: int, listed: int
) -> None:
    content = json.loads(_status(scores, "--failures", "--limit", str(limit), "--json"))
    assert content["counts"] == {"image_corrupt": 3, "caption_empty": 2}
    assert sum(len(samples) for samples in content["first"].values()) == listed
    text = _status(scores, "--failures", "--limit", str(limit))
    assert text.count("broken") == listed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json", "--prometheus"], "--json and --prometheus cannot be used together"),
        (["--failures", "--prometheus"], "--failures and --prometheus cannot be used together"),
    ],
)
def test_two_forms_at_once_are_refused(scores: str, options: list[str], words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        _status(scores, *options)
