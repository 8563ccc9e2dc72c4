"""How long a run takes to start over a folder of finished shards, and how much memory it needs.

    python benchmarks/startup.py --shards 100000

Makes this many empty shards, and a finished table for each (links to one file), and then runs the
command on them with one unfinished shard. The figures are for the whole command: import, finding
shards, listing the tables, scoring the last shard.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.faults import make_pool

COMMAND = """
import re, sys
from pairsift.cli import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1], file=sys.stderr)
"""
_MOST_LINKS = 30_000  # links to one file; ext4 allows 65,000


def make_finished(folder: Path, shards: int) -> None:
    """Make shards in `folder`/pool and, except for the last, their tables in `folder`/scores."""
    make_pool(folder / "pool", 1, 20)
    (folder / "pool" / "00000.tar").rename(folder / "pool" / "000000.tar")
    subprocess.run(_command(folder), check=True, capture_output=True)
    table, tar = folder / "scores" / "000000.parquet", folder / "pool" / "000000.tar"
    for number in range(1, shards):
        if number % _MOST_LINKS == 0:
            table, tar = _copy(table, folder, number), _copy(tar, folder, number)
        os.link(tar, folder / "pool" / f"{number:06d}.tar")
        if number < shards - 1:
            os.link(table, folder / "scores" / f"{number:06d}.parquet")


def _copy(path: Path, folder: Path, number: int) -> Path:
    copy = folder / f"{number}{path.suffix}"
    copy.write_bytes(path.read_bytes())
    return copy


def _command(folder: Path) -> list[str]:
    return [
        sys.executable, "-c", COMMAND, "score", str(folder / "pool"), "--json",
        "--scorer", "heuristics", "--workers", "0", "--out", str(folder / "scores"),
    ]  # fmt: skip


def _cpu_seconds() -> float:
    used = os.times()
    return used.children_user + used.children_system


def measure(folder: Path) -> dict[str, Any]:
    """Run the command; return seconds (wall time and CPU time), MiB, and its output."""
    begin, used = time.perf_counter(), _cpu_seconds()
    done = subprocess.run(_command(folder), check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    summary = json.loads(done.stdout)
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(_cpu_seconds() - used, 2),
        "peak_mib": int(done.stderr.split()[-1]) // 1024,
        "shards": summary["shards"],
        "skipped": summary["skipped"],
        "rows": summary["rows"],
    }


def main() -> int:
    """Measure and print JSON; the exit code says whether the limits of 30 s and 1 GiB hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--folder", help="for the files; a temporary one if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairsift-startup-", dir=options.folder) as name:
        folder = Path(name)
        make_finished(folder, options.shards)
        found = measure(folder)
    print(json.dumps(found))
    alright = found["seconds"] < 30 and found["peak_mib"] < 1024 and found["rows"] == 20
    return 0 if alright else 1


if __name__ == "__main__":
    sys.exit(main())
