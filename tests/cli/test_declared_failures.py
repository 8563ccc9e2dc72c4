"""Samples that the source marks as failed count apart, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.samples import CAPTION, jpeg
from tests.support.commands import pairsift

DECLARED = 1_200


def _img2dataset(folder: Path, good: int, declared: int, broken: int = 0) -> Path:
    """A parquet as img2dataset writes it: rows that failed to download, then others."""
    folder.mkdir()
    rows = [
        {"key": f"{i:05d}", "caption": CAPTION, "jpg": None, "status": "failed_to_download",
         "error_message": "HTTP Error 404"}
        for i in range(declared)
    ]  # fmt: skip
    image = jpeg(64, 48)
    for index in range(good + broken):
        content = image if index < good else b"broken"
        rows.append(
            {"key": f"g{index:05d}", "caption": CAPTION, "jpg": content, "status": "success",
             "error_message": None}
        )  # fmt: skip
    names = ("key", "caption", "jpg", "status", "error_message")
    kinds = {name: pa.binary() if name == "jpg" else pa.string() for name in names}
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), folder / "00000.parquet")
    return folder


def _score(tmp_path: Path, pool: Path) -> tuple[int, str, str]:
    out = tmp_path / "out"
    done = pairsift("score", pool, "--scorer", "heuristics", "--out", out)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("good", [20, 1])
def test_many_declared_failures_do_not_stop_a_run(tmp_path: Path, good: int) -> None:
    code, out, _ = _score(tmp_path, _img2dataset(tmp_path / "pool", good, DECLARED))
    assert code == 0
    assert f"0 failed, {DECLARED:,} marked failed by the source" in out
    listed = json.loads(pairsift("status", tmp_path / "out", "--failures", "--json").stdout)
    assert listed["counts"] == {"source_failed": DECLARED}
    assert listed["first"]["source_failed"][0]["key"] == "00000"


def test_what_was_tried_and_failed_is_judged_alone(tmp_path: Path) -> None:
    code, _, error = _score(tmp_path, _img2dataset(tmp_path / "pool", 0, DECLARED, broken=3))
    assert code == 4
    assert "no pair was scored: all 3 failed with image_corrupt" in error


def test_a_source_that_failed_altogether_is_no_failure_of_the_run(tmp_path: Path) -> None:
    code, out, _ = _score(tmp_path, _img2dataset(tmp_path / "pool", 0, 30))
    assert code == 0
    assert "30 marked failed by the source" in out
