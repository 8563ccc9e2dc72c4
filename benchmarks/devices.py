"""Compare scorer processes on one machine's CPU: the same shards and scorer, in turns in one run.

    python -m benchmarks.devices --rounds 3
    python -m benchmarks.devices --scorer CHECKPOINT --samples 100

Compared are one process of one thread, the same on one core, N processes of one thread (`--devices
cpu:N`) and one process of N threads, N being the number of cores. A process of one thread decodes
images in another thread, for which it uses a second core if there is one. CHECKPOINT is the folder
of a model.
Pairs per second are those that the command prints, without loading. On a busy machine more
processes get a larger share of the cores, so the CPU seconds of the whole command are reported too,
less those of a command that loads the scorers and finds nothing to do. Tables of one thread must be
equal; another number of threads rounds in another way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pairsift.engines.devices import cores
from tests.support.faults import COMMAND, compare_tables, make_pool


def run(arguments: list[str], threads: int, on: set[int]) -> tuple[dict[str, Any], float]:
    """Run the command on some cores; its summary, and the CPU seconds of all its processes."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, on)
    process = subprocess.Popen(
        [*COMMAND, "score", *arguments, "--workers", "0", "--json"],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    os.sched_setaffinity(0, everywhere)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}")
    return json.loads(printed), usage.ru_utime + usage.ru_stime


def main() -> int:
    """Measure, print JSON, and compare the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scorer", default="pairsift-tiny")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count = cores()
    everywhere = os.sched_getaffinity(0)
    ways = {
        "1 process of 1 thread": (["--devices", "cpu:1"], 1, everywhere),
        "1 process of 1 thread, on 1 core": (["--devices", "cpu:1"], 1, {min(everywhere)}),
        f"{count} processes of 1 thread": (["--devices", f"cpu:{count}"], 1, everywhere),
        f"1 process of {count} threads": ([], count, everywhere),
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="pairsift-devices-") as name:
        folder = Path(name)
        scorer = ["--scorer", options.scorer]
        pool = make_pool(folder / "pool", options.shards, options.samples)
        first = folder / "0 0"
        for turn in range(options.rounds):
            for place, (way, (devices, threads, on)) in enumerate(ways.items()):
                out = folder / f"{turn} {place}"
                command = [str(pool), "--out", str(out), *scorer, *devices]
                summary, busy = run(command, threads, on)
                _, loading = run(command, threads, on)
                loaders = count if place == 2 else 1
                pairs = summary["rows"]
                found[way].append(
                    {
                        "pairs_per_second": summary["pairs_per_second"],
                        "cpu_seconds_per_100_pairs": 100 * (busy - loading * loaders) / pairs,
                        "load_average": os.getloadavg()[0],
                    }
                )
                print(way, found[way][-1], file=sys.stderr, flush=True)
                if threads == 1 and (wrong := compare_tables(out, first)) is not None:
                    raise RuntimeError(f"{way}: {wrong}")
    middle = {
        way: {name: round(statistics.median(turn[name] for turn in turns), 2) for name in turns[0]}
        for way, turns in found.items()
    }
    one, alone, several, threaded = (way["pairs_per_second"] for way in middle.values())
    report = {
        "cores": count,
        "medians": middle,
        "processes_over_one": round(several / one, 2),
        "processes_over_one_core": round(several / alone, 2),
        "processes_over_threads": round(several / threaded, 2),
    }
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
