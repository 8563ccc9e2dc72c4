"""What is shipped: the wheel is small, typed and complete, and works where there is no repository.

Building takes seconds and is always tested. Installing into a clean environment takes minutes: it
is done where $PAIRSIFT_DIST is set, as `make dist` does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from pairsift import __version__

ROOT = Path(__file__).parents[2]
MAX_WHEEL_BYTES = 95 * 10**6
TORCH = os.environ.get("PAIRSIFT_TORCH", "torch")
# Resources that code opens by name; a missing one is found out only by its user.
RESOURCES = (
    "pairsift/py.typed",
    "pairsift/assets/pairsift-tiny/config.json",
    "pairsift/assets/pairsift-tiny/model.safetensors",
    "pairsift/assets/pairsift-tiny/tokenizer.json",
    "pairsift/assets/pairsift-tiny/sentence_tokenizer.json",
    "pairsift/explore/explore.html",
    "pairsift/explore/explore.js",
    "pairsift/prompts/pairsift.toml",
    "pairsift/report/template.html.j2",
    "pairsift/teach/teacher.toml",
)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.mark.slow
def test_wheel_is_small_enough(built: tuple[Path, Path]) -> None:
    _, wheel = built
    assert wheel.name == f"pairsift-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= set(RESOURCES)
    tracked = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert names >= {name.removeprefix("src/") for name in tracked}
    assert not [n for n in names if not n.startswith(("pairsift/", "pairsift-"))]
    assert not [n for n in names if "__pycache__" in n]
    assert [n for n in names if n.endswith("LICENSE")]


@pytest.mark.slow
def test_sdist_holds_what_its_tests_and_documents_need(built: tuple[Path, Path]) -> None:
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml", "LICENSE", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile",
        "mkdocs.yml", "docs/index.md", "tests/samples.py", "benchmarks/serve.py",
    } <= names  # fmt: skip
    assert not [n for n in names if n.startswith((".venv", "demo-output", ".git/"))]


@pytest.mark.slow
def test_metadata_is_what_an_index_shows(built: tuple[Path, Path]) -> None:
    found = metadata(built[1])
    assert found["Version"] == __version__
    assert found["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in found.get_all("Classifier", [])
    assert found["Requires-Python"] == ">=3.10"


@pytest.mark.slow
def test_every_extra_is_documented(built: tuple[Path, Path]) -> None:
    extras = set(metadata(built[1]).get_all("Provides-Extra", []))
    page = (ROOT / "docs" / "installation.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == extras


@pytest.mark.skipif(not os.environ.get("PAIRSIFT_DIST"), reason="takes minutes: make dist")
def test_wheel_works_in_a_clean_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "-q")
    # Torch first: pip would choose a build for GPUs, of gigabytes.
    run(*pip, "install", TORCH)
    installed = run(*pip, "freeze")
    (tmp_path / "constraints.txt").write_text(
        "".join(line + "\n" for line in installed.splitlines() if line.startswith("torch=="))
    )
    run(*pip, "install", "-c", "constraints.txt", f"{built[1]}[demo]")
    pairsift = str(tmp_path / "env" / "bin" / "pairsift")
    assert run(pairsift, "--version") == f"pairsift {__version__}\n"
    where = run(str(python), "-c", "import pairsift; print(pairsift.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    summary = json.loads(run(pairsift, "demo", "--out", "demo", "--json"))
    assert summary["failed"] == 2
    assert summary["right_beats_wrong"] >= 0.8 * summary["photos"]
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
    assert f"pairsift {__version__}" in run(pairsift, "doctor", "--report")
