"""Appending past the page cache gives the bytes that were handed in, wherever the file lies."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pairsift.writers import append
from pairsift.writers.append import Appender

MIB = 1 << 20


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    """A folder on the disk, and one on a file system that has no disk below it."""
    if request.param == "disk":
        yield tmp_path
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm here")
    path = Path("/dev/shm") / f"pairsift-{os.getpid()}-{tmp_path.name}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4 * MIB, 4 * MIB + 512, 9 * MIB + 77])
def test_the_file_holds_what_was_written(folder, size):
    content = noise(size)
    with (folder / "file").open("wb") as file, Appender(file) as target:
        for start in range(0, size, 700_001):
            target.write(content[start : start + 700_001])
        assert target.tell() == size
    assert (folder / "file").read_bytes() == content


def test_ranges_of_another_file_and_bytes_come_in_their_order(folder):
    source = noise(11 * MIB)
    (folder / "source").write_bytes(source)
    ranges = [(512, 513), (5 * MIB, 10 * MIB), (0, 4096), (11 * MIB - 3, 11 * MIB)]
    descriptor = os.open(folder / "source", os.O_RDONLY)
    with (folder / "file").open("wb") as file, Appender(file) as target:
        for start, end in ranges:
            target.write_from(descriptor, start, end)
            target.write(b"between")
    os.close(descriptor)
    expected = b"".join(source[start:end] + b"between" for start, end in ranges)
    assert (folder / "file").read_bytes() == expected


def test_without_a_descriptor_it_is_written_to(tmp_path):
    content, file = noise(5 * MIB), io.BytesIO()
    with Appender(file) as target:
        target.write(content)
    assert file.getvalue() == content


def test_a_source_that_ends_early_is_an_error(tmp_path):
    (tmp_path / "source").write_bytes(b"short")
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(EOFError),
        Appender(file) as target,
    ):
        target.write_from(descriptor, 0, 6)
    os.close(descriptor)


def test_a_disk_with_other_demands_is_written_through_the_page_cache(tmp_path, monkeypatch):
    content = noise(6 * MIB)
    # Nothing is aligned to a byte more than the disk wants: the disk itself refuses.
    monkeypatch.setattr(append, "ALIGNMENT", 513)
    with (tmp_path / "file").open("wb") as file, Appender(file) as target:
        direct = target.direct
        target.write(content)
        assert not (direct and target.direct)
    assert (tmp_path / "file").read_bytes() == content


LIMITED = """
import resource, signal, sys
from pairsift.storage import Folder
from pairsift.writers.append import Appender
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
with Folder(sys.argv[1]).atomic("file") as file, Appender(file) as target:
    target.write(bytes(9_000_000))
"""


def test_a_file_that_cannot_grow_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert os.strerror(errno.EFBIG) in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_the_writers_error():
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        open("/dev/full", "wb") as file,
        Appender(file) as target,
    ):
        target.write(bytes(MIB))
