"""Photographs of public repositories, as `training/photographs.py` collects them."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

import photographs


def test_it_takes_what_the_table_names_from_a_repository_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "work tree"
    place.mkdir()
    git = ["git", "-C", str(place)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    Image.new("RGB", (800, 600), "red").save(place / "wide one.jpg")
    Image.new("L", (100, 120)).save(place / "small.png")
    subprocess.run([*git, "add", "."], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, *author, "commit", "--quiet", "-m", "x"], check=True)
    read = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    commit = read.stdout.strip()
    table = tmp_path / "table.csv.gz"
    lines = ["image_file,repository,commit,source_path"]
    for name, path in (("a.jpg", "wide one.jpg"), ("b.jpg", "small.png"), ("c.jpg", "gone.jpg")):
        lines.append(f"{name},owner/name,{commit},{path}")
    table.write_bytes(gzip.compress("\n".join(lines).encode()))
    monkeypatch.setattr(photographs, "FILE", table)
    out = tmp_path / "photographs.tar"
    argv = ["photographs.py", "--repositories", str(tmp_path / "repositories"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", argv)

    bare = tmp_path / "repositories" / "owner+name"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(place), str(bare)], check=True)
    with pytest.raises(SystemExit, match="1 photographs are missing"):
        photographs.main()
    assert not out.exists()
    monkeypatch.setattr(photographs, "MISSING", 0.5)
    photographs.main()

    told = capsys.readouterr().out
    assert "left out owner/name" in told
    assert "2 of 3 photographs" in told
    with tarfile.open(out) as tar:
        found = {m.name: Image.open(io.BytesIO(tar.extractfile(m).read())) for m in tar}  # type: ignore[union-attr]
    assert {name: (image.format, image.size) for name, image in found.items()} == {
        "a.jpg": ("JPEG", (341, 256)),
        "b.jpg": ("JPEG", (100, 120)),
    }


def test_the_shipped_tables_fit_each_other() -> None:
    described = {row["image_file"]: row for row in photographs.rows(photographs.FILE)}
    assert len(described) > 13_000
    kinds = {row["wrong_kind"] for row in described.values()}
    assert kinds == {"object", "attribute", "count", "relation", "action", "scene"}
    for row in described.values():
        assert row["caption_plain"] != row["caption_wrong"], row
        assert len(row["commit"]) == 40, row
    judged = list(photographs.rows(photographs.JUDGED))
    assert described.keys() - {row["image_file"] for row in judged} == set()
    assert all(0 <= int(row["score"]) <= 100 for row in judged)
