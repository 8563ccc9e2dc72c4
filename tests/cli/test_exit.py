"""Commands end cleanly: exit code, output and registered exits, whatever threads are left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairsift import load_scorer
from pairsift.engines.local import score_shards
from pairsift.sources import find_shards
from tests.samples import good_samples, write_tar
from tests.support.commands import start

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    samples = good_samples(10)
    samples["good0003"]["jpg"] = b"broken"  # makes `status` read a table, not only its footer
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", samples)
    found = find_shards(str(tmp_path / "pool"))
    score_shards(found, load_scorer("heuristics"), str(tmp_path / "scores"))
    return tmp_path / "scores"


# A thread that is still releasing a Python buffer when the interpreter goes: the C++ threads of
# Arrow are then ended in the middle of a destructor, which aborts the process.
_HOLD_A_BUFFER = """
import io, sys, threading
import pyarrow.parquet as pq
from pairsift.cli import command
sys.argv = ["pairsift", "status", sys.argv[1]]
content = open(sys.argv[2] + "/0.parquet", "rb").read()
def read():
    while True:
        pq.read_table(io.BytesIO(content))
for _ in range(4):
    threading.Thread(target=read, daemon=True).start()
command()
"""


@pytest.mark.slow
def test_threads_that_read_at_the_end_do_not_abort(scores: Path) -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", _HOLD_A_BUFFER, str(scores)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 of 1 shards done" in done.stdout


@pytest.mark.slow
def test_status_ends_cleanly_every_time(scores: Path) -> None:
    for _ in range(6):
        done = start("status", scores)
        assert (done.returncode, done.stderr) == (0, "")


_READ_AND_LEAVE = """
import sys
from pairsift.storage import Folder
from pairsift.scores import read_table
assert read_table(Folder(sys.argv[1]), "0")[0].num_rows == 10
"""


@pytest.mark.slow
def test_a_program_that_reads_tables_ends_cleanly(scores: Path) -> None:
    for _ in range(6):
        done = subprocess.run([sys.executable, "-c", _READ_AND_LEAVE, str(scores)])
        assert done.returncode == 0


_LEAVE = """
import atexit, sys, threading, time
import pairsift.cli as cli
def end():
    {deed}
cli.main = end
atexit.register(lambda: print("exit functions ran"))
threading.Thread(target=lambda: (time.sleep(0.3), print("thread ended"))).start()
sys.stdout.write("not flushed; ")
cli.command()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "code", "words"),
    [
        ("return", 0, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise SystemExit", 0, ""),
        ("raise ValueError('a defect')", 1, "ValueError: a defect"),
    ],
)
def test_what_python_does_at_an_exit_is_done(deed: str, code: int, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEAVE.format(deed=deed)],
        capture_output=True,
        text=True,
        env=BUFFERED,
    )
    assert done.returncode == code
    assert done.stdout == "not flushed; thread ended\nexit functions ran\n"
    assert words in done.stderr


@pytest.mark.slow
def test_output_that_nobody_takes_is_told() -> None:
    code = _LEAVE.format(deed="sys.stdin.read()")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=BUFFERED,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.close()
    assert process.wait() == 120
