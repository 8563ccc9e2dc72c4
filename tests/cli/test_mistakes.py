"""Every mistake a user makes ends in one clear line, exit code 2, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import pairsift, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the mistakes are made with."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "not-a-tar.tar").write_text("plain text\n" * 200)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{ not json")
    (tmp_path / "run.toml").write_text("[scoer]\n")
    return tmp_path


MISTAKES = {
    "wrong path": (["score", "none/*.tar", "--out", "out"], ["none/*.tar"]),
    "empty folder": (["score", "empty", "--out", "out"], ["empty"]),
    "unknown metric": (
        ["score", "not-a-tar.tar", "--metrics", "itm,beauty", "--out", "out"],
        ["beauty", "itm, odf, ctq, su"],
    ),
    "unknown scorer": (
        ["score", "not-a-tar.tar", "--scorer", "heuristic", "--out", "out"],
        ["'heuristic'", "heuristics"],
    ),
    "unreadable checkpoint": (
        ["score", "not-a-tar.tar", "--scorer", "checkpoint", "--out", "out"],
        ["config.json"],
    ),
    "option of another scorer": (
        ["score", "not-a-tar.tar", "--scorer", "heuristics", "--dtype", "float32", "--out", "out"],
        ["'dtype'"],
    ),
    "part without a slash": (
        ["score", "not-a-tar.tar", "--scorer", "heuristics", "--part", "3", "--out", "out"],
        ["--part", "i/n"],
    ),
    "select from no scores": (["select", "empty", "--top", "0.3", "--by", "itm"], ["empty"]),
    "write from no selection": (["write", "empty", "--datacomp", "x.npy"], ["empty"]),
    "write nothing": (["write", "empty"], ["--datacomp"]),
    "report of no scores": (["report", "empty", "--out", "report.html"], ["empty"]),
    "config with a typo": (["run", "run.toml"], ["'scoer'", "'score'"]),
    "config that is not there": (["run", "none.toml"], ["none.toml"]),
    "demo into a full folder": (["demo", "--out", "."], ["--out"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line(folder: Path, name: str) -> None:
    arguments, expected = MISTAKES[name]
    done = pairsift(*arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("pairsift: ")
    for part in expected:
        assert part in line


def test_the_installed_command_does_the_same(folder: Path) -> None:
    done = start("score", "none/*.tar", "--out", "out", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("pairsift: ")
    assert len(done.stderr.splitlines()) == 1


def test_shard_that_is_no_tar_is_named_and_the_exit_code_tells(folder: Path) -> None:
    arguments = ["score", "not-a-tar.tar", "--scorer", "heuristics", "--out", "out"]
    done = pairsift(*arguments, cwd=folder)
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("pairsift: 1 shards could not be read")
    assert "not-a-tar.tar is not a tar" in last


def test_usage_errors_are_the_parsers_own_and_exit_2(folder: Path) -> None:
    done = pairsift("score", cwd=folder)
    assert done.returncode == 2
    assert "Missing argument" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_no_arguments(tmp_path: Path) -> None:
    from pairsift import __version__

    assert pairsift("--version").stdout == f"pairsift {__version__}\n"
    assert "score" in pairsift().stdout + pairsift().stderr
