"""The site builds strictly, is complete, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the site needs the extra docs")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        built = site / "index.html" if str(name) == "index" else site / name / "index.html"
        assert built.is_file(), page


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(https?:|//)')
    styles = re.compile(
        r'<link\b[^>]*rel="(?:stylesheet|preconnect|preload)"[^>]*href="(https?:|//)'
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text("utf-8")
        assert not loads.search(text), page
        assert not styles.search(text), page


@pytest.mark.slow
def test_reference_is_made_from_code(site: Path) -> None:
    commands = (site / "reference" / "cli" / "index.html").read_text("utf-8")
    for command in ("pairsift score", "pairsift serve", "pairsift teach reference"):
        assert f"{command}" in commands
    assert "--max-failure-rate" in commands
    python = (site / "reference" / "python" / "index.html").read_text("utf-8")
    assert "the image is not decoded yet" in python  # of Pair's docstring
    assert 'id="pairsift.pair.Pair"' in python


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 100_000, picture
