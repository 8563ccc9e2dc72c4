"""Peak memory of a process."""

from __future__ import annotations

import subprocess
import sys

from pairsift.evaluate.cost.memory import peak_device_mib, peak_resident_mib

SCRIPT = """
from pairsift.evaluate.cost.memory import peak_device_mib, peak_resident_mib
before = peak_resident_mib()
block = b"x" * (200 << 20)
with_block = peak_resident_mib()
del block
print(before, with_block, peak_resident_mib(), peak_device_mib())
"""


def test_the_peak_stays_when_the_memory_is_free_again() -> None:
    block = b"x" * (300 << 20)  # a child must not inherit this peak
    told = subprocess.check_output([sys.executable, "-c", SCRIPT], text=True).split()
    del block
    before, with_block, after = map(float, told[:3])
    assert 5 < before < 150
    assert 190 < with_block - before < 215
    assert after > with_block - 5  # the kernel counts to some pages
    assert told[3] == "None"  # no GPU is used
    assert peak_resident_mib() > 300


def test_a_process_that_uses_no_gpu_has_no_peak_there() -> None:
    assert peak_device_mib() is None
