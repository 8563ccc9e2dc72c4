"""Every shell and Python block of README and documents runs, in the order of its page.

A block is run unless a comment in front of it says why it cannot be:
``<!-- not run: the reason -->``. Lines that install are left to `make dist`. A block with a title
is a file of that name; a page that has a ``pyproject.toml`` is a package, installed beforehand.
Every page starts in a folder with ``pool/`` (two shards of the demo's pairs), ``pairs/`` (one of
them as parquet), a few photographs, and, where it says ``<!-- starts with: scores -->``, the scores
of the pool. What `reference/python.md` shows is run by `test_examples.py`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")

from pairsift import load_scorer
from pairsift.demo.photos import PHOTOS, captions
from pairsift.engines.local import score_shards
from pairsift.sources import find_shards
from tests.samples import write_tar
from tests.support.pages import PYTHON, blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = ROOT / "docs" / "reference" / "python.md"
PORT = "8765"  # that a page names; a free one stands in for it
NEEDS = {
    "datatrove.md": "datatrove",
    "huggingface-datasets.md": "datasets",
    "ray-data.md": "ray",
    "torchmetrics.md": "torchmetrics",
}
PAIRS = 5  # that a shard of the pool has
TIME_LIMIT_S = 240

RUNNABLE = [
    page for page in PAGES if page != REFERENCE and any(block.command for block in blocks(page))
]


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards as img2dataset writes them, and their scores."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "pool").mkdir()
    rows = list(captions())[: 2 * PAIRS]
    for shard in range(2):
        samples: list[tuple[str, dict[str, bytes | str]]] = []
        for index, (photo, _, caption) in enumerate(rows[shard * PAIRS : (shard + 1) * PAIRS]):
            key, uid = f"{shard:04d}{index:05d}", f"{shard * PAIRS + index:032x}"
            suffix = photo.path.rpartition(".")[2]
            fields = f'{{"uid": "{uid}", "key": "{key}"}}'
            samples.append((key, {suffix: photo.read(), "txt": caption, "json": fields}))
        write_tar(folder / "pool" / f"{shard:08d}.tar", samples)
    (folder / "pairs").mkdir()
    pairs = {
        "image": [{"bytes": photo.read(), "path": None} for photo, _, _ in rows[:PAIRS]],
        "caption": [caption for _, _, caption in rows[:PAIRS]],
    }
    pq.write_table(pa.table(pairs), folder / "pairs" / "0.parquet")
    # The scores carry the paths of the shards: pages that get them find the pool there.
    score_shards(
        find_shards([str(folder / "pool")]), load_scorer(), str(folder / "scores"), workers=0
    )
    return folder


def test_marks_say_why() -> None:
    for page in PAGES:
        assert not [b for b in blocks(page) if b.reason is not None and len(b.reason) < 5], page


def test_there_is_something_to_run() -> None:
    names = {page.name for page in RUNNABLE}
    assert names >= {"README.md", "quickstart.md", "threshold.md", "serve.md", "train.md"}


def install_package(page: Path, folder: Path) -> Path:
    """Install the package that a page's titled blocks are; returns the folder it is in."""
    package, target = folder / "package", folder / "installed"
    package.mkdir()
    for block in blocks(page):
        if block.title:
            (package / block.title).write_text(block.body)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(package)], check=True)
    return target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page):
        if block.language in PYTHON:
            compile(block.body, str(page), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, pool: Path, tmp_path: Path) -> None:
    if package := NEEDS.get(page.name):
        pytest.importorskip(package)
    shutil.copytree(pool / "pool", tmp_path / "pool")
    shutil.copytree(pool / "pairs", tmp_path / "pairs")
    if "<!-- starts with: scores -->" in page.read_text("utf-8"):
        shutil.copytree(pool / "scores", tmp_path / "scores")
    for photo in PHOTOS[:4]:
        (tmp_path / Path(photo.path).name).write_bytes(photo.read())
    for name in ("photo.png", "cat.jpg", "dog.jpg"):
        (tmp_path / name).write_bytes(PHOTOS[1].read())
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }
    if any(block.title == "pyproject.toml" for block in blocks(page)):
        environment["PYTHONPATH"] = str(install_package(page, tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        free_port = str(server.getsockname()[1])
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.body)
        if not block.command:
            continue
        *head, script = block.command
        done = subprocess.run(
            [*head, script.replace(PORT, free_port)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
        )
        told = f"{script}\n--- output\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, told
