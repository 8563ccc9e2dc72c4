"""The fault harness on a small scale; `benchmarks/faults.py` runs it on a large one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.faults import Step, kill_step, make_pool, make_reference, steps


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, float]]:
    """A pool, what undisturbed runs make of it, and how long they take."""
    folder = tmp_path_factory.mktemp("faults")
    pool = make_pool(folder / "pool", shards=10, samples=40)
    return pool, folder / "reference", make_reference(pool, folder / "reference", "heuristics")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "kills"), [(0, 5), (1, 3), (2, 3)], ids=["score", "select", "write"]
)
def test_killed_at_random_moments(
    reference: tuple[Path, Path, dict[str, float]], tmp_path: Path, index: int, kills: int
) -> None:
    pool, undisturbed, seconds = reference
    step: Step = steps(pool, tmp_path, "heuristics", undisturbed)[index]
    theirs = undisturbed / step.out.relative_to(tmp_path)
    findings = kill_step(step, theirs, seconds[step.name], kills, random.Random(7))
    assert findings.faults == kills
    assert findings.runs >= 1
    assert (findings.wrong, findings.orphans) == ([], 0)
