"""`evaluate human` and `evaluate pairs` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift.cli import app
from pairsift.errors import PairsiftError
from tests.support.judged import judged_images, write_judgments

pytest.importorskip("scipy")


@pytest.mark.slow
def test_human_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [
        *("evaluate", "human", "--protocol", "csv", "--scorer", "heuristics"),
        *("--judgments", write_judgments(tmp_path), "--images", judged_images(tmp_path)),
        *("--out", str(out), "--resamples", "50"),
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "caption_words" in result.stdout
    assert "Kendall tau-b" in result.stdout
    found = json.loads((out / "result.json").read_text())
    by_column = {entry["column"]: entry for entry in found["columns"]}
    words = by_column["caption_words"]
    assert words["tau_b"]["low"] < words["tau_b"]["value"] < words["tau_b"]["high"]
    assert words["tau_b"]["value"] > 0.6
    assert words["difference_from_first"] is None
    # All images have one size: a column without any order correlates with nothing.
    assert by_column["smaller_side"]["tau_b"]["value"] is None
    assert found["scorers"]["heuristics"]["scored_now"] > 0
    assert "| heuristics | caption_words |" in (out / "table.md").read_text()
    table = pq.read_table(out / "judgments.parquet")
    assert table.num_rows == 60
    assert table["heuristics/caption_words"].to_pylist()[:3] == [1, 2, 3]

    again = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    repeated = json.loads(again.stdout)
    assert repeated["scorers"]["heuristics"]["scored_now"] == 0
    assert repeated["columns"] == found["columns"]


def test_pairs_from_the_command_line(tmp_path: Path) -> None:
    rows = ["filename,caption,negative_caption,category"]
    rows += [f"{i}.jpg,a big brown dog,a dog,longer" for i in range(6)]
    rows += [f"{i}.jpg,a dog,a cat,same" for i in range(6)]
    rows += [f"{i}.jpg,a dog,a big brown cat,shorter" for i in range(4)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    arguments = [
        *("evaluate", "pairs", "--pairs", str(tmp_path / "pairs.csv"), "--scorer", "heuristics"),
        *("--images", judged_images(tmp_path), "--columns", "caption_words", "--resamples", "30"),
        *("--out", str(tmp_path / "out"), "--json"),
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    (column,) = json.loads(result.stdout)["columns"]
    assert column["accuracy/longer"]["value"] == 1
    assert column["accuracy/same"]["value"] == 0.5
    assert column["accuracy/shorter"]["value"] == 0
    assert column["accuracy"]["value"] == pytest.approx((6 + 3) / 16)
    assert column["ties"] == pytest.approx(6 / 16)
    assert column["accuracy"]["low"] is column["accuracy"]["high"] is None  # six images
    assert "[too few]" in (tmp_path / "out" / "table.md").read_text()


def test_there_must_be_something_to_measure(tmp_path: Path) -> None:
    command = ["evaluate", "pairs", "--pairs", "none.csv", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, command)
    assert isinstance(found.exception, PairsiftError)
    assert str(found.exception) == "there is nothing to measure: give a scorer with --scorer"
