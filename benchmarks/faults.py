"""Disturb runs in every way that occurs in practice, and compare their files.

    python -m benchmarks.faults kills --kills 200
    python -m benchmarks.faults devices --kills 50
    python -m benchmarks.faults ray --kills 10
    python -m benchmarks.faults uploads disk --kills 10
    python -m benchmarks.faults replaced --kills 100 --shards 8

Prints one line per fault and, with ``--json FILE``, writes the findings as JSON. Every fault is
applied to real processes of the command. Afterwards the files must equal those of an undisturbed
run: no row lost, none twice, and no other file in the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.support.faults import FAULTS, make_pool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named faults; the exit code says whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("faults", nargs="+", choices=FAULTS)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--scorer", default="heuristics")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="leave the findings here")
    options = parser.parse_args(arguments)
    wrong = 0
    everything = []
    with tempfile.TemporaryDirectory(prefix="pairsift-faults-") as folder:
        pool = make_pool(Path(folder) / "pool", options.shards, options.samples)
        for name in options.faults:
            for findings in FAULTS[name](pool, Path(folder) / name, options):
                print(findings.line(), flush=True)
                everything.append(asdict(findings))
                wrong += len(findings.wrong) + findings.orphans
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
