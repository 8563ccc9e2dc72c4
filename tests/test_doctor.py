"""The doctor tells what is there, what is not, and how to get it."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from pairsift.doctor import Findings, Package, anonymous, examine


@pytest.mark.slow
def test_core_packages_are_found_with_their_versions() -> None:
    findings = examine()
    torch = next(package for package in findings.core if package.requirement.startswith("torch"))
    assert torch == Package(torch.requirement, version("torch"), True)
    assert set(findings.extras) >= {"demo", "dev"}
    assert "torch" in findings.device


def test_every_scorer_can_be_loaded() -> None:
    scorers = examine().scorers
    assert "pairsift-tiny" in scorers
    assert not [state for state in scorers.values() if state.startswith("cannot be loaded")]


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("no-such-package-here>=1", "missing, no-such-package-here>=1 is needed: pip install"),
        ("pytest>=999", f"{version('pytest')} is installed, pytest>=999 is needed: pip install"),
        ("pytest>=1", version("pytest")),
    ],
)
def test_what_is_missing_comes_with_the_command(requirement: str, expected: str) -> None:
    assert Package.look_up(Requirement(requirement)).state.startswith(expected)


@pytest.mark.slow
def test_command_prints_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pairsift", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["pairsift"] == version("pairsift")


def test_report_has_versions_and_nothing_of_the_reader() -> None:
    text = examine().report()
    assert f"pairsift {version('pairsift')}" in text
    assert f"torch {version('torch')}" in text
    assert "extra dev: " in text
    assert "scorers that load: pairsift-tiny" in text
    for private in (os.path.expanduser("~"), os.getcwd(), sys.prefix, socket.gethostname()):
        assert private not in text


def test_report_hides_what_errors_quote() -> None:
    words = f"cannot open {sys.prefix}/lib/x.so for {getpass.getuser()} at {socket.gethostname()}"
    findings = Findings(
        "1", "3.11", "Linux", 2, "cpu", (), {}, {"mine": f"cannot be loaded: {words}"}
    )
    text = findings.report()
    assert sys.prefix not in text
    assert "scorer mine: cannot be loaded: cannot open <path> for " in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in /home/ann/data/x.tar: bad", "in <path>: bad"),
        ("~/.cache/key and ../up/there", "<path> and <path>"),
        ("'C:\\Users\\ann\\x'", "'<path>'"),
        ("s3://key:secret@bucket/x failed", "<url> failed"),
        ("torch 2.13.0+cpu, 1/2 done", "torch 2.13.0+cpu, 1/2 done"),
    ],
)
def test_paths_and_urls_are_hidden(text: str, expected: str) -> None:
    assert anonymous(text) == expected


@pytest.mark.slow
def test_unexpected_errors_ask_for_the_report() -> None:
    code = (
        "import sys, pairsift.doctor as doctor; from pairsift.cli import main\n"
        "doctor.examine = lambda: 1 / 0; sys.argv = ['pairsift', 'doctor']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pairsift doctor --report" in done.stderr
    assert "ZeroDivisionError" in done.stderr
