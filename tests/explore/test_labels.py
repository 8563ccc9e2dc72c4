"""The file of labels: none is lost, the last one of a pair counts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.explore import running_server
from pairsift.explore.labels import LabelFile
from tests.explore.conftest import Served

FACTS = {"caption": "a dog", "scores": {"itm": 50.0}, "scored_by": "x"}


PAIR = ("00000000", "000000001", 0)


def lines(file: Path) -> list[dict[str, Any]]:
    # Not splitlines(), which also splits at characters that a caption may contain.
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.csv", None, ".jsonl"),
        ("s3://bucket/labels.jsonl", None, "local disk"),
        ("notes.jsonl", b'{"image": "a", "caption": "b"}\n', "not a file of labels"),
        ("missing/labels.jsonl", None, "--labels"),
    ],
)
def test_other_files_are_refused(
    served: Served, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = name if "://" in name else str(tmp_path / name)
    if content is not None:
        Path(path).write_bytes(content)
    with (
        pytest.raises(PairsiftError, match=words),
        running_server(served.scored.scores, cache=str(tmp_path), labels=path),
    ):
        pass
    if content is not None:
        assert Path(path).read_bytes() == content


@pytest.mark.parametrize(
    ("tail", "left"), [(b'{"shard": "0000', 1), (b"\xff", 1), (None, 1)], ids=repr
)
def test_a_line_that_was_cut_off_is_removed(tmp_path: Path, tail: bytes | None, left: int) -> None:
    path = tmp_path / "labels.jsonl"
    LabelFile(str(path), "anna").add(PAIR, "good", FACTS)
    whole = path.read_bytes()
    # Without a tail: an editor has removed the end of the last line.
    path.write_bytes(whole + tail if tail is not None else whole.rstrip(b"\n"))
    file = LabelFile(str(path), "ben")
    assert file.labels()[PAIR].label == "good"
    file.add(("00000000", "000000002", 0), "bad", FACTS)
    assert path.read_bytes().startswith(whole)
    assert [line["label"] for line in lines(path)] == ["good", "bad"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    LabelFile(str(path), "anna").add(PAIR, "good", FACTS)
    with path.open("ab") as file:
        file.write(b"no label\n")
    with pytest.raises(PairsiftError, match="line 2: not a label"):
        LabelFile(str(path), "anna")


def test_a_file_that_was_replaced_is_read_afresh(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    file = LabelFile(str(path), "anna")
    file.add(PAIR, "good", FACTS)
    path.unlink()
    assert file.labels() == {}
    file.add(PAIR, "bad", FACTS)
    assert [line["label"] for line in lines(path)] == ["bad"]
    other = tmp_path / "other.jsonl"
    longer = LabelFile(str(other), "berta")
    for number in range(3):
        longer.add(("s", f"{number}", 0), "good", FACTS)
    other.replace(path)
    assert [key for _, key, _ in file.labels()] == ["0", "1", "2"]


def test_a_label_waits_until_another_process_has_written(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    file = LabelFile(str(path), "anna")
    with open(path, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        adding = threading.Thread(target=file.add, args=(PAIR, "good", FACTS))
        adding.start()
        adding.join(0.3)
        assert adding.is_alive()
        assert path.read_bytes() == b""
    adding.join(30)
    assert [line["label"] for line in lines(path)] == ["good"]


WRITER = """
import sys
from pairsift.explore.labels import LabelFile
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = LabelFile(path, who)
for number in range(count):
    added, _ = file.add(("s", f"{who}-{number}", 0), "good", {"caption": "x" * 3000, "scores": {}})
    print(number, added.number, flush=True)
"""


def writer(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    process = writer(path, "anna", 100_000)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    with contextlib.closing(process.stdout) as rest:
        told += [line for line in rest if line.endswith("\n")]
    process.wait()
    labels = LabelFile(str(path), "ben").labels()
    assert {("s", f"anna-{number}", 0) for number in range(len(told))} <= labels.keys()
