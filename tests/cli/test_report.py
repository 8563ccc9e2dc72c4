"""`report` as typed: what it says of pictures and shards that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pairsift.cli import app
from tests.samples import CAPTION, jpeg, write_tar
from tests.score_folders import score_folder, score_table


@pytest.fixture
def scores(tmp_path: Path) -> str:
    """Scores of two shards of two pairs."""
    tables = {}
    (tmp_path / "pool").mkdir()
    for shard in ("a", "b"):
        keys = [f"{shard}{n}" for n in range(2)]
        samples = {key: {"jpg": jpeg(40, 30, n), "txt": CAPTION} for n, key in enumerate(keys)}
        write_tar(tmp_path / "pool" / f"{shard}.tar", samples)
        tables[shard] = score_table(shard, keys, {"itm": [1.0, 2.0]})
    return score_folder(tmp_path / "scores", tables, root=tmp_path / "pool")


def _report(scores: str, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["report", scores, "--out", str(out), *options])


def test_a_report_with_all_pictures_is_said_in_one_line(scores: str, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    found = _report(scores, out)
    assert (found.exit_code, found.stdout) == (0, f"report in {out}\n")
    assert found.stderr == ""
    content = json.loads(_report(scores, out, "--json").stdout)
    assert (content["path"], content["pictures"], content["changed"]) == (str(out), 4, 0)


def test_shards_that_changed_and_pairs_without_a_picture_are_told(
    scores: str, tmp_path: Path
) -> None:
    (tmp_path / "pool" / "b.tar").unlink()
    found = _report(scores, tmp_path / "report.html")
    assert found.exit_code == 0
    first, second = found.stderr.splitlines()
    assert first.startswith("pairsift: 1 shards are missing or have changed")
    assert second.startswith("pairsift: 2 of 4 pairs have no picture in the report; first: ")


def test_a_report_without_any_picture_is_written_and_ends_with_code_3(
    scores: str, tmp_path: Path
) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / "pool" / name).unlink()
    found = _report(scores, tmp_path / "report.html")
    assert found.exit_code == 3
    assert "4 of 4 pairs have no picture" in found.stderr
    assert "Pairsift report" in (tmp_path / "report.html").read_text()
