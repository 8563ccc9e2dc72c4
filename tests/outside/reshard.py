"""Run DataComp's own resharder on a subset file that ``pairsift write --datacomp`` wrote.

    .venv-outside-datacomp/bin/python -m tests.outside.reshard build/outside DIR/resharder.py

The subset repeats uids, as ``--keep-duplicates`` writes them. The resharder writes each sample of
the pool as often as the subset has its uid.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.outside.pool import Made, sample_json, versions


def main(folder: str, resharder: str) -> None:
    """Run it and compare the uids in its output with those of the subset."""
    made = Made(Path(folder).absolute())
    subset = np.load(made.written("subset.npy"))
    assert subset.dtype == np.dtype("u8,u8")
    wanted = Counter(f"{high:016x}{low:016x}" for high, low in subset.tolist())
    assert max(wanted.values()) > 1, "the subset repeats no uid"
    pool = Counter(row["uid"] for tar in made.pool.glob("*.tar") for row in sample_json(tar))
    expected = Counter({uid: count * pool[uid] for uid, count in wanted.items()})
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [sys.executable, resharder, "-i", made.pool, "-o", out,
             "-s", made.written("subset.npy"), "-j", "2"],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode or "Traceback" in done.stderr:
            raise SystemExit(f"the resharder ended with {done.returncode}: {done.stderr[-3000:]}")
        tars = sorted(Path(out).glob("*.tar"))
        found = Counter(row["uid"] for tar in tars for row in sample_json(tar))
    assert found == expected, (found - expected, expected - found)
    print(
        f"{len(subset)} uids, {len(wanted)} different, are {found.total()} samples of the pool: "
        f"all in the resharder's {len(tars)} tars"
    )
    print(versions("img2dataset", "webdataset", "numpy"))


if __name__ == "__main__":
    main(*sys.argv[1:3])
