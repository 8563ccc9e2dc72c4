"""The cache of replies: one run at a time, and what is written is told or an error."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.cache import Reply, ReplyCache
from tests.samples import jpeg

GOOD = Reply("{}", None, 1, 2)


def _open_and_wait(path: str, pipe: Connection) -> None:
    cache = ReplyCache(path)
    cache.add("key", "m", "e", GOOD)
    pipe.send("open")
    pipe.recv()


def test_two_processes_cannot_have_it_open(tmp_path: Path) -> None:
    path = str(tmp_path / "new folder" / "replies.sqlite")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_open_and_wait, args=(path, theirs))
    other.start()
    try:
        assert ours.recv() == "open"
        with pytest.raises(PairsiftError, match=r"another run is using .*replies\.sqlite.*--cache"):
            ReplyCache(path)
        # However it ends, the kernel drops its lock.
        os.kill(other.pid or 0, signal.SIGKILL)
        other.join(20)
        with ReplyCache(path) as cache:
            assert cache.last("key") == (1, GOOD)
    finally:
        other.kill()


def test_nor_can_one_process_twice_until_it_is_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "replies.sqlite")
    with ReplyCache(path), pytest.raises(PairsiftError, match="another run"):
        ReplyCache(path)
    ReplyCache(path).close()


@pytest.mark.slow
def test_a_command_beside_a_run_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\n0.jpg,a dog\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(jpeg())
    with ReplyCache(str(tmp_path / "out.jsonl.replies.sqlite")):
        done = subprocess.run(
            [sys.executable, "-m", "tests.teach.command", "teach", "openai", "--model", "m",
             "--captions", str(tmp_path / "captions.csv"), "--images", str(tmp_path / "images"),
             "--base-url", "http://127.0.0.1:1/v1", "--out", str(tmp_path / "out.jsonl")],
            cwd=Path(__file__).parents[2], capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode != 0
    assert "another run is using" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_cache_is_refused_and_let_go(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    path.write_bytes(b"something else, and long enough to be looked at" * 100)
    for _ in range(2):
        with pytest.raises(PairsiftError, match="cannot open the cache"):
            ReplyCache(str(path))


def test_a_reply_that_cannot_be_kept_is_one_sentence(tmp_path: Path) -> None:
    path = str(tmp_path / "replies.sqlite")
    with ReplyCache(path) as cache:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("DROP TABLE replies")
        other.close()
        with pytest.raises(PairsiftError, match=r"cannot write a reply to .*replies\.sqlite"):
            cache.add("key", "m", "e", GOOD)
