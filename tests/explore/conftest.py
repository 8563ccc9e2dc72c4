"""One server over a small scored set, for all tests of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pairsift.explore import running_server
from pairsift.select import select
from tests.report.conftest import Scored, make_scored


@dataclass(frozen=True)
class Served:
    """Address of the server, what it serves, and its files with their times before it ran."""

    url: str
    scored: Scored
    folder: Path
    before: dict[str, tuple[int, int]]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            stat = os.stat(os.path.join(root, name))
            found[os.path.join(root, name)] = (stat.st_size, stat.st_mtime_ns)
    return found


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    scored = make_scored(folder)
    select(scored.scores, where="itm >= 40", out=folder / "kept")
    before = snapshot(folder)
    cache = tmp_path_factory.mktemp("cache")
    with running_server(scored.scores, str(folder / "kept"), cache=str(cache)) as url:
        yield Served(url, scored, folder, before)
