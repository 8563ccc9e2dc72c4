"""Ctrl-C and SIGTERM through the real command: no hang, nothing half-written, how to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pairsift.engines.devices import cores
from tests.engines.conftest import tables
from tests.samples import good_samples, write_tar

DEVICES = ("--devices", "cpu:2")
two_cores = pytest.mark.skipif(cores() < 2, reason="needs two cores")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight shards; copies of one, so that it takes long to score and not to make."""
    folder = tmp_path_factory.mktemp("pool")
    first = write_tar(folder / "0.tar", good_samples(400)).read_bytes()
    for shard in range(1, 8):
        (folder / f"{shard}.tar").write_bytes(first)
    return folder


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    # What a shell starts in the background, these tests perhaps, ignores SIGINT, and its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _end(process: subprocess.Popen[str], number: int, to_group: bool, soon: float = 30) -> str:
    """Send the signal, check that it all ends soon, and return stderr."""
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=60)
        _, alive = psutil.wait_procs(everyone, timeout=soon)
        assert not alive
    finally:
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    return errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "number", "code", "to_group"),
    [
        (("--workers", "0"), signal.SIGINT, 130, True),
        (("--workers", "0"), signal.SIGTERM, 143, False),
        (("--workers", "1"), signal.SIGINT, 130, False),
        (("--workers", "1"), signal.SIGTERM, 143, True),
        pytest.param(("--workers", "0", *DEVICES), signal.SIGINT, 130, True, marks=two_cores),
        pytest.param(("--workers", "1", *DEVICES), signal.SIGTERM, 143, False, marks=two_cores),
    ],
    ids=[
        "thread-int-group", "thread-term", "process-int", "process-term-group",
        "devices-int-group", "devices-term",
    ],
)  # fmt: skip
def test_scoring_stops_cleanly_and_goes_on(
    pool: Path, tmp_path: Path, processes: tuple[str, ...], number: int, code: int, to_group: bool
) -> None:
    out = tmp_path / "out"
    command = ("-m", "pairsift", "score", str(pool), "--out", str(out), "--scorer", "heuristics")
    process = _start(*command, *processes, "--batch-size", "4")
    _wait_until(lambda: any(out.glob("*.parquet")), process)
    errors = _end(process, number, to_group)
    assert process.returncode == code, errors
    assert errors.strip() == (
        "pairsift: stopped; what was finished is kept: run the same command again to continue"
    )
    done = len(tables(out))
    assert 1 <= done < 8
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    again = _start(*command)
    printed, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert f"{8 - done} shards scored, {done} finished before" in printed
    assert len(tables(out)) == 8


# A call that never comes back: a lock of C's, taken twice. No handler of Python's is run in it.
_DEAF = """
import ctypes
import sys
from pairsift import cli
import pairsift.select

def wait(*arguments, **options):
    mutex = ctypes.create_string_buffer(64)
    print("waiting", flush=True)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

cli.LIMIT_S = 2.0
pairsift.select.select = wait
sys.argv = ["pairsift", "select", "nowhere", "--where", "itm > 1"]
cli.main()
"""

# It is interrupted, and raises an error of its own.
_SLOW_QUERY = """
import sys
from pairsift import cli
from pairsift.expressions import database
import pairsift.select

def wait(*arguments, **options):
    with database.open_database() as connection:
        print("querying", flush=True)
        connection.execute("SELECT max(h) FROM (SELECT hash(range) % 1000 AS h "
                           "FROM range(100000000000))").fetchall()

pairsift.select.select = wait
sys.argv = ["pairsift", "select", "nowhere", "--where", "itm > 1"]
cli.main()
"""

_SLOW_MODEL = """
import sys
import torch
from pairsift import cli
import pairsift.select

def wait(*arguments, **options):
    print("multiplying", flush=True)
    a = torch.ones(1500, 1500)
    while True:
        a = torch.softmax(a @ a, 0)

pairsift.select.select = wait
sys.argv = ["pairsift", "select", "nowhere", "--where", "itm > 1"]
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "number", "code"),
    [
        (_DEAF, signal.SIGINT, 130),
        (_DEAF, signal.SIGTERM, 143),
        (_SLOW_QUERY, signal.SIGTERM, 143),
        (_SLOW_MODEL, signal.SIGINT, 130),
    ],
    ids=["deaf-int", "deaf-term", "duckdb-term", "torch-int"],
)
def test_long_library_calls_are_interrupted(script: str, number: int, code: int) -> None:
    process = _start("-c", script)
    assert process.stdout is not None
    assert process.stdout.readline().endswith("ing\n")
    time.sleep(0.5)
    begin = time.monotonic()
    errors = _end(process, number, to_group=False)
    # Some queries of DuckDB hear nothing: then the thread ends the process after its 25 seconds.
    assert time.monotonic() - begin < 40
    assert process.returncode == code, errors
    assert errors.startswith("pairsift: stopped;")


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_ctrl_c_ends_a_cluster_of_our_own(pool: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs pairsift[ray]")
    out, shards = tmp_path / "out", tmp_path / "pool"
    shards.mkdir()
    for shard in range(64):  # more than an actor finishes before it is told to stop
        (shards / f"{shard}.tar").hardlink_to(pool / "0.tar")
    command = ("-m", "pairsift", "score", str(shards), "--out", str(out), "--scorer", "heuristics")
    process = _start(*command, "--engine", "ray", "--actors", "1", "--batch-size", "4")
    _wait_until(lambda: any(out.glob("*.parquet")), process)
    # Ray's agents look for their cluster for up to a minute, in some versions, before they end.
    errors = _end(process, signal.SIGINT, to_group=True, soon=120)
    assert process.returncode == 130, errors
    assert "pairsift: stopped; what was finished is kept: run the same command again" in errors
    # Ray may kill an actor while it writes, so a temporary file may be left, as after SIGKILL.
    assert 1 <= len(tables(out)) < 64


def test_a_signal_that_another_thread_got_ends_a_blocked_command() -> None:
    blocked = """
import signal, threading
from pairsift import cli

def app(standalone_mode):
    def get():
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Timer(0.5, get).start()
    threading.Event().wait()

cli.app = app
cli.command()
"""
    process = _start("-c", blocked)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "run the same command again to continue" in errors
