"""How fast, and with how much memory, a subset of a large pool is selected.

    python benchmarks/selection.py --rows 128_000_000 --tables 1280 --folder /scratch/select

Makes score tables (once; they are kept for the next run), and then selects by the condition
``itm >= 66 and odf >= 20`` and the best 30 % by ``itm``, with two methods:

- ``numpy``: the method of DataComp's own baselines. A process per core reads the columns of one
file
  after another. For the fraction, all scores are sorted in memory to find a threshold. The uids of
  the rows that pass are converted to numbers one by one, joined, sorted, and saved.
- ``pairsift``: :func:`pairsift.select.select` under a memory limit, then
  :func:`pairsift.writers.write_datacomp`.

Both write the same .npy for DataComp's resharder, and the files are compared. Each method runs in
its own process, and the files are read once before each, so that the page cache is equally warm.
Memory is the kernel's peak of the process (VmHWM; ``ru_maxrss`` would include the parent's memory
before the exec); for numpy the children's peaks are added.

(The file is not called select.py, because a script's folder comes first on Python's path: all
benchmarks here would import it in place of the standard library's module.)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from synthetic_scores import make_score_folder

WHERE = "itm >= 66 and odf >= 20"
TOP = 0.3
UID_DTYPE = np.dtype("u8,u8")
GIBIBYTE = 1 << 30


def peak_memory() -> int:
    """Return the peak memory of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError("no VmHWM in /proc/self/status; this benchmark needs Linux")


def processor_seconds() -> float:
    """Return the processor time of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


# The numpy way.


def _scores(path: Path) -> tuple[np.ndarray, int]:
    # Failed rows have no score; as NaN they pass no comparison and sort last.
    return pq.read_table(path, columns=["itm"], use_threads=False)["itm"].to_numpy(), os.getpid()


def _uids(path: Path, threshold: float | None) -> tuple[np.ndarray, int, int]:
    """Return the uids of the rows that pass, as numbers, the process that read them, and
    its size.
    """
    columns = ["uid", "itm"] if threshold is not None else ["uid", "itm", "odf"]
    table = pq.read_table(path, columns=columns, use_threads=False)
    itm = table["itm"].to_numpy()
    passes = itm >= threshold if threshold is not None else (itm >= 66) & (
        table["odf"].to_numpy() >= 20
    )  # fmt: skip
    kept = table["uid"].filter(passes).to_pylist()
    numbers = np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in kept], UID_DTYPE)
    return numbers, os.getpid(), peak_memory()


def numpy_way(folder: Path, question: str, out: Path) -> dict[str, Any]:
    """Select and save as DataComp's baselines do."""
    begin = time.perf_counter()
    paths = sorted(folder.glob("*.parquet"))
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        threshold = None
        if question == "top":
            scores = np.concatenate([part for part, _ in pool.map(_scores, paths, chunksize=4)])
            ordered = np.sort(scores)
            scorable = int(np.searchsorted(ordered, np.nan))
            kept = int(scorable * Fraction(str(TOP)))
            threshold = float(ordered[scorable - kept])
            found |= {
                "threshold": threshold,
                "above": int((scores > threshold).sum()),
                "ties": int((scores == threshold).sum()),
                "exact": kept,
            }
            found["threshold_seconds"] = time.perf_counter() - begin
        parts, children = [], {}
        for numbers, pid, peak in pool.map(_uids, paths, [threshold] * len(paths), chunksize=4):
            parts.append(numbers)
            children[pid] = peak
    subset = np.concatenate(parts)
    subset.sort()
    np.save(out, subset)
    return found | {
        "seconds": time.perf_counter() - begin,
        "processor": processor_seconds(),
        "rows": len(subset),
        "peak": peak_memory() + sum(children.values()),
    }


# Ours.


def pairsift_way(
    folder: Path, question: str, out: Path, memory: str, threads: int | None
) -> dict[str, Any]:
    """The two steps of the command line."""
    from pairsift.select import select
    from pairsift.writers import write_datacomp

    asked: dict[str, Any] = {"where": WHERE} if question == "where" else {"top": TOP, "by": "itm"}
    begin = time.perf_counter()
    selection = select(
        str(folder), **asked, out=out.with_suffix(""), memory_limit=memory, threads=threads
    )
    selected = time.perf_counter() - begin
    peak = peak_memory()
    written = write_datacomp(selection, out, duplicates=True)
    cuts = selection.record.cuts
    return {
        "seconds": time.perf_counter() - begin,
        "select_seconds": selected,
        "processor": processor_seconds(),
        "rows": written.uids,
        "kept": selection.kept,
        "scored": selection.record.rows,
        "threshold": cuts[0].threshold if cuts else None,
        "ties": cuts[0].ties if cuts else None,
        "ties_kept": cuts[0].ties_kept if cuts else None,
        "select_peak": peak,
        "peak": peak_memory(),
    }


# Comparing.


def check(question: str, ours: dict[str, Any], theirs: dict[str, Any], files: list[Path]) -> None:
    """Fail unless both methods selected the same rows, and ours exactly the requested number."""
    mine, other = (np.load(path, mmap_mode="r") for path in files)
    if question == "where":
        assert ours["kept"] == ours["rows"] == theirs["rows"], (ours, theirs)
        assert np.array_equal(mine, other), "the uids differ"
        return
    # numpy's threshold keeps all ties; ours keeps exactly the requested number.
    assert ours["kept"] == ours["rows"] == theirs["exact"], (ours, theirs)
    assert ours["threshold"] == theirs["threshold"], (ours, theirs)
    assert ours["ties"] == theirs["ties"], (ours, theirs)
    assert ours["ties_kept"] == theirs["exact"] - theirs["above"], (ours, theirs)
    assert theirs["rows"] == theirs["above"] + theirs["ties"], theirs
    step = 1 << 20
    for start in range(0, len(mine), step):
        chunk = mine[start : start + step]
        place = np.searchsorted(other, chunk)
        assert np.array_equal(other[place], chunk), "a uid of ours does not pass numpy's threshold"


def warm(folder: Path) -> None:
    """Read the files into the page cache."""
    for path in folder.glob("*.parquet"):
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


def run_alone(options: argparse.Namespace, way: str, question: str, out: Path) -> dict[str, Any]:
    """Run one method in its own process."""
    warm(options.folder / "scores")
    command = [
        sys.executable, __file__, "--folder", str(options.folder), "--memory", options.memory,
        "--way", way, "--question", question, "--out", str(out),
    ]  # fmt: skip
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def bytes_of(limit: str) -> float:
    """Format a size as DuckDB does."""
    units = {"GB": 1e9, "GIB": GIBIBYTE, "MB": 1e6, "MIB": 1 << 20}
    number = limit.rstrip("GIBMgibm")
    return float(number) * units[limit[len(number) :].upper()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, required=True, help="scratch space, kept")
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--tables", type=int, default=80)
    parser.add_argument("--duplicates", type=float, default=0.0, help="fraction of repeated uids")
    parser.add_argument("--memory", default="2GB", help="DuckDB's limit")
    parser.add_argument("--threads", type=int, help="DuckDB's; one per core otherwise")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there")
    for hidden in ("--way", "--question"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    scores = options.folder / "scores"
    if options.way == "numpy":
        print(json.dumps(numpy_way(scores, options.question, options.out)))
        return
    if options.way == "pairsift":
        found = pairsift_way(scores, options.question, options.out, options.memory, options.threads)
        print(json.dumps(found))
        return
    make_score_folder(scores, options.rows, options.tables, options.duplicates)
    results = []
    for _ in range(options.rounds):
        for question in ("where", "top"):
            outs = {
                name: options.folder / f"{question}-{name}.npy" for name in ("pairsift", "numpy")
            }
            row = {name: run_alone(options, name, question, out) for name, out in outs.items()}
            check(question, row["pairsift"], row["numpy"], list(outs.values()))
            ours, theirs = row["pairsift"], row["numpy"]
            over = (ours["peak"] - bytes_of(options.memory)) / GIBIBYTE
            print(
                f"{question:5}  {ours['kept']:,} of {ours['scored']:,} rows, the same in both\n"
                f"  numpy    {theirs['seconds']:7.1f} s, {theirs['processor']:7.1f} s of "
                f"processor  {theirs['peak'] / GIBIBYTE:5.2f} GiB\n"
                f"  pairsift {ours['seconds']:7.1f} s, {ours['processor']:7.1f} s of "
                f"processor  {ours['peak'] / GIBIBYTE:5.2f} GiB, "
                f"{over:+.2f} GiB to DuckDB's limit of {options.memory}; of the seconds "
                f"{ours['select_seconds']:.1f} are select's\n"
                f"  {theirs['seconds'] / ours['seconds']:.1f} times as fast, "
                f"{theirs['processor'] / ours['processor']:.1f} times by processor time",
                flush=True,
            )
            results.append({"question": question, **row})
            for out in outs.values():
                out.unlink()
                shutil.rmtree(out.with_suffix(""), ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    if multiprocessing.get_start_method(allow_none=True) is None:
        multiprocessing.set_start_method("spawn")
    main()
