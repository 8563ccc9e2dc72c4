"""The command in the process of the tests, and a scored pool for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pairsift.cli import main
from tests.score_folders import sample_members, score_folder, score_table, write_tar

Command = Callable[..., str]


@pytest.fixture
def pairsift(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command and returns what it printed."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["pairsift", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def scored_pool(tmp_path: Path) -> str:
    """Two tars of ten pairs with itm 0 to 19."""
    tables = {}
    for shard in range(2):
        keys = [f"{shard:05d}{row:04d}" for row in range(10)]
        rng = np.random.default_rng(shard)
        members = [member for key in keys for member in sample_members(key, rng)]
        write_tar(tmp_path / "data" / f"{shard:05d}.tar", members)
        itm = [shard * 10 + row for row in range(10)]
        tables[f"{shard:05d}"] = score_table(f"{shard:05d}", keys, {"itm": itm})
    return score_folder(tmp_path / "scores", tables, root=tmp_path / "data")
