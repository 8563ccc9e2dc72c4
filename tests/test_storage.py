"""A file is there whole or not at all, whatever ends the process that writes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.storage import Folder


def test_written_file_is_read_back_and_listed(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "new"))
    folder.create()
    folder.write("a.bin", b"content")
    assert folder.read("a.bin") == b"content"
    assert folder.names() == {"a.bin"}


def test_memory_urls_work_alike() -> None:
    folder = Folder("memory://test_storage")
    folder.create()
    folder.write("a.bin", b"content")
    with folder.atomic("b.bin") as file:
        file.write(b"more")
    assert folder.read("a.bin") == b"content"
    assert folder.read("b.bin") == b"more"
    assert folder.names() == {"a.bin", "b.bin"}


def test_error_while_writing_leaves_the_old_file_and_no_leftover(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a.bin", b"old")

    def fail_half_way() -> None:
        with folder.atomic("a.bin") as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert folder.read("a.bin") == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


_HANG = """
import sys, time
from pairsift.storage import Folder
with Folder(sys.argv[1]).atomic("a.bin") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _HANG, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    folder = Folder(str(tmp_path))
    assert folder.names() == set()
    assert folder.remove_leftovers() == 0
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(os.listdir(tmp_path)) == 1
    assert folder.remove_leftovers() == 1
    assert os.listdir(tmp_path) == []


def test_leftovers_of_another_machine_go_only_when_old(tmp_path: Path) -> None:
    foreign = tmp_path / ".a.bin.another-kernel~abc.tmp"
    foreign.write_bytes(b"half")
    folder = Folder(str(tmp_path))
    assert folder.remove_leftovers() == 0
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(foreign, (two_days_ago, two_days_ago))
    assert folder.remove_leftovers() == 1


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    # /dev/full fails every write with ENOSPC, as a full disk does.
    folder = Folder(str(tmp_path))

    def write_to_full_disk() -> None:
        with folder.atomic("a.bin"), open("/dev/full", "wb") as full:
            full.write(b"x")

    with pytest.raises(PairsiftError, match="no space left.*run the same command again"):
        write_to_full_disk()
    assert os.listdir(tmp_path) == []


def test_unknown_protocol_is_one_clear_line() -> None:
    with pytest.raises(PairsiftError, match="cannot open nosuch://bucket"):
        Folder("nosuch://bucket/x")


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(PairsiftError, match="is a file; a folder is needed"):
        Folder(str(tmp_path / "out")).create()
