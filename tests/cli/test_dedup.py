"""`dedup` and `hashes` as typed: what they print."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from pairsift.cli import app
from tests.dedup.conftest import Write, write_scores
from tests.test_hashing import scene

__all__ = ["write_scores"]


def _run(*arguments: object) -> str:
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert found.exit_code == 0, found.output + str(found.exception)
    return found.stdout


def test_hashes_tell_the_images_that_only_the_very_same_file_finds(tmp_path: Path) -> None:
    folder, out = tmp_path / "set", tmp_path / "set.parquet"
    folder.mkdir()
    scene(1, (64, 48)).save(folder / "1.png")
    assert _run("hashes", folder, "--out", out) == f"1 images hashed into {out}\n"
    Image.new("RGB", (40, 40), "white").save(folder / "white.png")
    printed = _run("hashes", folder, "--out", out)
    assert "2 images hashed into" in printed
    assert "; 1 of them, of one colour or not readable, are found only as" in printed
    content = json.loads(_run("hashes", folder, "--out", out, "--name", "mine", "--json"))
    assert content == {"path": str(out), "images": 2, "without_phash": 1}


def test_dedup_tells_its_groups_and_where_they_are(write_scores: Write, tmp_path: Path) -> None:
    scores = write_scores({"a": [(0, "f", "a", 1), (3, "g", "b", 2), (0xFF00, "h", "c", 3)]})
    out = tmp_path / "copies"
    assert _run("dedup", scores, "--out", out).splitlines()[-1] == f"written to {out}"
    content = json.loads(_run("dedup", scores, "--out", out, "--distance", "0", "--json"))
    assert (content["rows"], content["groups"]) == (3, 0)
