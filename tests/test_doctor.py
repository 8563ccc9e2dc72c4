"""The doctor tells what is there, what is not, and how to get it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from pairsift.doctor import Package, _look_up, _state, examine


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
    assert _state(_look_up(Requirement(requirement))).startswith(expected)


def test_command_prints_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pairsift", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["pairsift"] == version("pairsift")
