"""From shards to a selection by a cascade, as a user does it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift.cascade.plan import Plan
from pairsift.cascade.report import write_agreement
from pairsift.cli import app
from tests.cascade.conftest import FULL_BY, pool

__all__ = ["pool"]


def _run(*arguments: str, fails: bool = False) -> str:
    found = CliRunner().invoke(app, list(arguments))
    if fails:
        return str(found.exception)
    assert found.exit_code == 0, found.output + str(found.exception)
    return found.output


@pytest.mark.slow
def test_plan_score_select(pool: Path, tmp_path: Path) -> None:
    plan, scores = tmp_path / "plan.json", str(tmp_path / "scores")
    planned = _run(
        "cascade", str(pool), "--out", str(plan), "--cheap", "heuristics",
        "--cheap-by", "caption_words", "--full", "tiny-glance", "--by", FULL_BY, "--keep", "0.4",
        "--agreement", "0.7", "--audit", "0.2", "--pairs", "110",
    )  # fmt: skip
    assert "heuristics gives up caption_words <" in planned
    assert "at most times as fast" in planned
    learned = json.loads(plan.read_text())["learned"]
    assert 50 < learned["pairs"] < 110  # the audited and the one without an image stay outside
    assert learned["open"] < 0.9

    scored = _run("score", str(pool), "--scorer", "cascade", "--plan", str(plan), "--out", scores)
    assert "the best 40 % by glance + 50 * caption_words: " in scored
    beside = json.loads((tmp_path / "scores" / "_cascade.json").read_text())
    assert beside["agreement"]["low"] <= beside["agreement"]["value"] <= 1.0
    assert beside["plan"] == json.loads(plan.read_text())
    table = pq.read_table(sorted((tmp_path / "scores").glob("*.parquet")))
    assert 0 < table["glance"].null_count < len(table)

    config = tmp_path / "run.toml"
    config.write_text(
        f"""
        out = "{tmp_path / "run"}"
        [score]
        shards = "{pool}"
        scorer = "cascade"
        hashes = true  # another scorer around the cascade
        options = {{ plan = "{plan}" }}
        [select]
        top = 0.4
        by = "cascade"
        [report]
        """
    )
    ran = _run("run", str(config))
    assert "the planned cut: " in ran
    again = json.loads((tmp_path / "run" / "scores" / "_cascade.json").read_text())
    assert again == beside
    report = (tmp_path / "run" / "report.html").read_text()
    assert "full scoring would select" in report

    words = _run("select", scores, "--top", "0.4", "--by", "cascade", "--out", str(tmp_path / "s"))
    assert "full scoring would select" in words
    (tmp_path / "scores" / "00002.parquet").unlink()
    assert write_agreement(scores, Plan.load(plan)) is None  # not of half a run
    refused = _run("select", scores, "--top", "0.4", "--by", "glance", fails=True)
    assert "glance is null where a cheap scorer decided the pair" in refused


def test_mistakes(pool: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "plan.json")
    for options, words in (
        (("--keep", "0.3", "--at", "5"), "either --keep, a fraction, or --at"),
        (("--keep", "30"), "is not a fraction"),
        (("--full-option", "dtype"), "write NAME=VALUE"),
        (("--cheap", "heuristics", "--cheap-by", "a", "--cheap-by", "b"), "2 times for 1"),
    ):
        assert words in _run("cascade", str(pool), "--out", out, *options, fails=True)
    assert "needs the option 'plan' (--plan)" in _run(
        "score", str(pool), "--scorer", "cascade", "--out", str(tmp_path / "o"), fails=True
    )
    assert not Path(out).exists()
