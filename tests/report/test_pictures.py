"""Pictures and captions out of the source shards, wherever they lie now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError
from pairsift.report import write_report
from pairsift.report.pictures import fetch_pictures, thumbnail
from pairsift.select import select
from tests.report.scored import SECOND, open_shards, score_pool


def test_captions_and_thumbnails_of_the_wanted_rows(pool: Path, tmp_path: Path) -> None:
    with open_shards(score_pool(pool, tmp_path / "s")) as shards:
        pictures = fetch_pictures([2, 1, SECOND], shards)
    assert set(pictures) == {1, 2, SECOND}
    assert (pictures[2].caption or "").endswith("number 2")
    assert (pictures[2].thumbnail or "").startswith("data:image/jpeg;base64,/9j/")
    assert (pictures[1].caption or "").endswith("number 1")
    assert (pictures[1].thumbnail, bool(pictures[1].problem)) == (None, True)
    assert pictures[SECOND].thumbnail


def test_rows_that_the_table_has_not(pool: Path, tmp_path: Path) -> None:
    with open_shards(score_pool(pool, tmp_path / "s")) as shards:
        assert "no such row" in (fetch_pictures([7], shards)[7].problem or "")


def _report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pairsift", "report", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_report_tells_what_it_lacks_and_a_root_cures_it(pool: Path, tmp_path: Path) -> None:
    scores = score_pool(pool, tmp_path / "s")
    select(scores, where="caption_length > 3", out=tmp_path / "sel")
    whole = ["--selection", tmp_path / "sel", "--out", tmp_path / "r.html"]
    pool.rename(tmp_path / "elsewhere")
    done = _report(scores, *whole)
    assert done.returncode == 3
    assert "5 of 5 pairs have no picture" in done.stderr
    assert "--root" in done.stderr
    assert "2 shards are missing or have changed" in done.stderr
    page = (tmp_path / "r.html").read_text()
    assert "Shards that have changed since they were scored: 2" in page
    assert "data:image/jpeg" not in page
    done = _report(scores, *whole, "--root", tmp_path / "elsewhere")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "r.html").read_text()
    assert "data:image/jpeg" in page
    assert "have changed since" not in page


@pytest.mark.slow
def test_report_with_some_of_its_pictures_ends_well(pool: Path, tmp_path: Path) -> None:
    scores = score_pool(pool, tmp_path / "s")
    (pool / "1.tar").unlink()
    done = _report(scores, "--out", tmp_path / "r.html")
    assert done.returncode == 0
    assert "3 of 5 pairs have no picture" in done.stderr
    summary = write_report(scores, None, str(tmp_path / "r.html"))
    assert (summary.pictures, summary.without_picture, summary.changed) == (2, 3, 1)


@pytest.mark.parametrize("what", ["FIFO", "folder"])
def test_report_replaces_files_only(pool: Path, tmp_path: Path, what: str) -> None:
    scores = score_pool(pool, tmp_path / "s")
    out = tmp_path / "out"
    out.mkdir() if what == "folder" else os.mkfifo(out)
    with pytest.raises(PairsiftError, match=f"is a {what}"):
        write_report(scores, None, str(out))
    assert not out.is_file()


def test_thumbnail_refuses_what_is_no_image() -> None:
    with pytest.raises(ImageFaultError):
        thumbnail(b"GIF89a")
