"""Freed memory that the C library keeps goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from pairsift.scorers import heap
from pairsift.scorers.heap import HeapTrimmer

# Blocks of 64 KiB are taken from the heap, whose end the last one holds.
HOLES = """
import sys
from pairsift.scorers.heap import HeapTrimmer

def resident():
    status = open("/proc/self/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024

blocks = [b"x" * 65536 for _ in range(1000)]
del blocks[:-1]
before, trimmer = resident(), HeapTrimmer(every=2)
trimmer.count(1)
between = resident()
trimmer.count(1)
print(before, between, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_memory_goes_back_once_enough_pairs_are_counted() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    before, between, after = map(int, done.stdout.split())
    assert before - between < 10
    assert before - after > 40


def test_pairs_are_counted_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(heap, "_trim", trimmed.append)
    trimmer = HeapTrimmer(every=100)
    for _ in range(10):
        trimmer.count(40)  # at 120, 240, 360
    assert trimmed == [0, 0, 0]
