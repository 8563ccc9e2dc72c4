"""A file is there whole or not at all, whatever ends the process that writes it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pairsift.errors import PairsiftError
from pairsift.storage import Folder, hold, output_file, split


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
    with pytest.raises(RuntimeError, match="stop"), folder.atomic("a.bin"):
        raise RuntimeError("stop")


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
from pairsift.storage import Folder, hold, split
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


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("filled", [False, True])
def test_a_folder_made_for_work_that_fails_goes_if_empty(
    tmp_path: Path, there: bool, filled: bool
) -> None:
    folder = Folder(tmp_path / "new")
    if there:
        folder.create()
    with pytest.raises(KeyError), folder.created():
        raise KeyError(folder.write("a", b"") if filled else None)
    assert (tmp_path / "new").exists() == (there or filled)


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
    with pytest.raises(PairsiftError, match="is a file, but a folder is expected"):
        Folder(str(tmp_path / "out")).create()
    with pytest.raises(PairsiftError, match="is a file, but a folder is expected"):
        Folder(str(tmp_path / "out")).names()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")


_NO_FILES: dict[str, Callable[[Path], None]] = {
    "FIFO": lambda path: os.mkfifo(path),
    "socket": _socket,
    "device": _device,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("behind_link", [False, True], ids=["itself", "link"])
@pytest.mark.parametrize("what", _NO_FILES)
def test_no_output_replaces_what_is_not_a_file(
    tmp_path: Path, what: str, behind_link: bool
) -> None:
    place = tmp_path / "out"
    _NO_FILES[what](tmp_path / "real" if behind_link else place)
    if behind_link:
        place.symlink_to("real")
    before = place.stat()
    with pytest.raises(PairsiftError, match=f"is a {what}, which is never overwritten"):
        Folder(str(tmp_path)).write("out", b"content")
    with pytest.raises(PairsiftError, match=what):
        output_file(place)
    assert (place.stat().st_ino, place.stat().st_mode) == (before.st_ino, before.st_mode)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_link_to_a_file_stays_and_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.bin").write_bytes(b"old")
    (tmp_path / "out.bin").symlink_to("elsewhere/real.bin")
    Folder(str(tmp_path)).write("out.bin", b"new")
    assert (tmp_path / "out.bin").is_symlink()
    assert (tmp_path / "elsewhere" / "real.bin").read_bytes() == b"new"
    assert os.listdir(tmp_path / "elsewhere") == ["real.bin"]


def test_link_to_nothing_yet_makes_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "out.bin").symlink_to(tmp_path / "real.bin")
    Folder(str(tmp_path)).write("out.bin", b"new")
    assert (tmp_path / "out.bin").is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"new"


@pytest.mark.parametrize("path", ["", "folder/", "/"])
def test_output_needs_the_name_of_a_file(path: str) -> None:
    with pytest.raises(PairsiftError, match="not a file name"):
        output_file(path)


def test_output_is_split_into_folder_and_name() -> None:
    assert [(folder.path, name) for folder, name in map(output_file, ("x.html", "/x.html"))] == [
        (os.getcwd(), "x.html"),
        ("/", "x.html"),
    ]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("x.jsonl", (".", "x.jsonl")),
        ("/x.jsonl", ("/", "x.jsonl")),
        ("a/x.jsonl", ("a", "x.jsonl")),
        ("./x", (".", "x")),
        ("../a b/x", ("../a b", "x")),
        ("a//x", ("a//", "x")),
        ("a/", ("a", "")),
        ("s3://bucket/x", ("s3://bucket", "x")),
        ("s3://bucket/a/x", ("s3://bucket/a", "x")),
        ("memory://x", ("memory://", "x")),
        ("memory:///x", ("memory:///", "x")),
        ("file:///x", ("file:///", "x")),
    ],
)
def test_a_file_lies_in_the_folder_that_its_path_names(path: str, parts: tuple[str, str]) -> None:
    assert split(path) == parts
    name = parts[1]
    if name and not path.startswith("s3"):
        expected = fsspec.core.url_to_fs(path)[1]
        assert Folder(parts[0]).file(name).replace("//", "/") == expected.replace("//", "/")


def test_a_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock")
    assert first is not None
    assert hold(tmp_path / "lock") is None
    first.close()
    assert hold(tmp_path / "lock") is not None
