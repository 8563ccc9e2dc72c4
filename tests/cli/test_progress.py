"""How far a run is, with and without a terminal; and names that try to be markup."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from pairsift.cli.progress import ProgressDisplay
from pairsift.engines.base import ShardResult
from pairsift.engines.progress import RunProgress
from tests.samples import good_samples, jpeg, write_tar
from tests.support.commands import pairsift, start

NASTY = [
    "[/a]x",
    "[red]",
    "[link=https://evil]click",
    "\x1b[2J\x1b[31mred",
    "x\rpairsift: all is well",
    "[bold",
    "\\[x]",
    "tpj\u202egpj",
]


@pytest.mark.slow
def test_a_line_every_so_often_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(every=0.2) as display:
        progress = RunProgress(display)
        progress.started(4, 1)
        progress.rows({"ok": 90, "image_missing": 6, "caption_empty": 4})
        progress.shard_done(ShardResult("a", "scored", 100, {}))
        progress.rows({"source_failed": 20})
        time.sleep(0.5)
    first, second, *_ = capfd.readouterr().err.splitlines()
    assert first == "1 of 4 shards were finished before"
    assert second.startswith("scoring: 120 of about 300 pairs, ")
    assert "pairs/s" in second
    assert "to go" in second
    assert second.endswith(
        "shard 2/4, 10 failed: 6 image_missing, 4 caption_empty; 20 marked failed by the source"
    )


@pytest.mark.slow
def test_a_run_that_stands_still_says_so_again(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(every=0.1) as progress:
        progress.progress("teaching", 5, 10, unit="pairs", detail="0.20 EUR")
        time.sleep(0.55)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("teaching: 5 of 10 pairs, ") for line in lines)
    assert all(line.endswith("0.20 EUR") for line in lines)


def test_a_short_run_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        progress = RunProgress(display)
        progress.started(1, 0)
        progress.rows({"ok": 5})
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", NASTY)
def test_names_of_shards_and_problems_are_not_markup(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(every=0.05) as display:
        progress = RunProgress(display)
        progress.started(1, 0)
        progress.shard_done(ShardResult(name, "scored", 1, {}, 0.1, f"ends in {name}"))
        display.progress(name, 1, 2, detail=name)
        time.sleep(0.15)
    shown = capfd.readouterr().err
    assert not set("\x1b\r\u202e") & set(shown)
    for plain in ("[/a]x", "[red]", "[link=https://evil]click", "[bold"):
        if name == plain:
            assert f"{plain}: ends in {plain}" in shown


@pytest.fixture
def nasty_pool(tmp_path: Path) -> Path:
    """A tar whose members and captions are made to disturb a terminal; it ends too early."""
    (tmp_path / "pool").mkdir()
    samples = dict(good_samples(3))
    for index, name in enumerate(NASTY):
        samples[f"{name.replace('/', '-')}{index}"] = {"jpg": jpeg(16, 16)[:-200], "txt": "x"}
    path = write_tar(tmp_path / "pool" / "[red]0.tar", samples)
    path.write_bytes(path.read_bytes()[:-11_000])
    return tmp_path / "pool"


@pytest.mark.slow
def test_nothing_of_a_nasty_tar_reaches_a_pipe_raw(nasty_pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scored = start("score", nasty_pool, "--scorer", "heuristics", "--out", out)
    assert scored.returncode == 0
    for command in (["status", out], ["status", out, "--failures", "--limit", "50"]):
        done = start(*command)
        assert done.returncode == 0
        scored.stdout += done.stdout
        scored.stderr += done.stderr
    shown = scored.stdout + scored.stderr
    assert not set("\x1b\r\u202e") & set(shown)
    assert r"\x1b[2J\x1b[31mred" in shown
    assert "[link=https:--evil]click" in shown
    assert "[red]0: " in scored.stderr


@pytest.mark.slow
def test_nothing_of_a_nasty_tar_reaches_a_terminal_raw(nasty_pool: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    command = ["score", str(nasty_pool), "--scorer", "heuristics", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "pairsift", *command],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=os.environ | {"TERM": "xterm-256color"},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0, shown
    os.close(master)
    assert b"[red]0: " in shown  # as it is, not as a colour
    assert b"scoring" in shown
    for raw in (b"\x1b[2J", b"\x1b[31mred", b"all is well", "\u202e".encode()):
        assert raw not in shown


def test_an_error_about_a_nasty_name_is_one_plain_line(tmp_path: Path) -> None:
    for name in NASTY:
        done = pairsift("status", tmp_path / name.replace("/", "-"))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert not set("\x1b\r\u202e") & set(done.stderr)
