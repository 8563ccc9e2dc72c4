"""Reading a hundred shards takes no more memory than reading ten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.samples import CAPTION, jpeg, write_tar

SAMPLES = 30

READ_AND_DECODE = """
import re, sys
from pairsift.images import decode_image
from pairsift.sources import find_shards, open_shard
found = find_shards(sys.argv[1])
count = 0
for shard in found.shards[: int(sys.argv[2])]:
    for pair in open_shard(shard):
        decode_image(pair.image)
        count += 1
# Not ru_maxrss, which begins with that of the process this one was started from.
status = open("/proc/self/status").read()
print(count, re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""


def peak(folder: Path, shards: int) -> int:
    """Peak resident memory, in KiB, of a process that reads and decodes that many shards."""
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_DECODE, str(folder), str(shards)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, kibibytes = map(int, done.stdout.split())
    assert count == shards * SAMPLES
    return kibibytes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_peak_does_not_grow(tmp_path: Path, kind: str) -> None:
    images = [jpeg(200, 150, seed) for seed in range(SAMPLES)]
    first = tmp_path / f"000.{kind}"
    if kind == "tar":
        write_tar(
            first,
            {f"{i:05d}": {"jpg": image, "txt": CAPTION} for i, image in enumerate(images)},
        )
    else:
        pq.write_table(pa.table({"jpg": images, "caption": [CAPTION] * SAMPLES}), first)
    for index in range(1, 100):
        os.link(first, tmp_path / f"{index:03d}.{kind}")
    ten, hundred = peak(tmp_path, 10), peak(tmp_path, 100)
    assert hundred <= 1.05 * ten, f"{ten} KiB for 10 shards, {hundred} KiB for 100"
