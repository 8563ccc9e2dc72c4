"""How fast, and with how much memory, a subset of a large pool is selected.

    python benchmarks/selection.py --rows 128_000_000 --tables 1280 --folder /scratch/select

Makes score tables (once; they are kept for the next run), and then selects by the condition
``itm >= 66 and odf >= 20`` and the best 30 % by ``itm``, with these methods (``--against``):

- ``numpy``: that of DataComp's own baselines. A process per core reads the columns of one file
  after another. For the fraction, all scores are sorted in memory to find a threshold. The uids of
  the rows that pass are converted to numbers one by one, joined, sorted, and saved.
- ``duckdb``: one plain SQL query over all files, with the uids converted and sorted in SQL.
- ``polars``: one lazy query over all files, collected by its streaming engine, likewise.
- ``pairsift``: :func:`pairsift.select.select` under a memory limit, then
  :func:`pairsift.writers.write_datacomp`.

All write the same .npy for DataComp's resharder, and the files are compared. Each method runs in
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
from statistics import median
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


# The ways of plain queries.


def _save(high: np.ndarray, low: np.ndarray, out: Path) -> int:
    subset = np.empty(len(high), UID_DTYPE)
    subset["f0"], subset["f1"] = high, low
    np.save(out, subset)
    return len(subset)


def duckdb_way(folder: Path, question: str, out: Path) -> dict[str, Any]:
    """Select and save as one would with DuckDB alone."""
    import duckdb

    begin = time.perf_counter()
    connection = duckdb.connect()
    kept = f"FROM read_parquet('{folder}/*.parquet') WHERE "
    if question == "where":
        kept += WHERE
    else:
        kept += "itm IS NOT NULL"
        ((scorable,),) = connection.execute(f"SELECT count(*) {kept}").fetchall()
        kept += f" ORDER BY itm DESC LIMIT {int(scorable * Fraction(str(TOP)))}"
    halves = ("('0x' || uid[1:16])::UBIGINT AS high", "('0x' || uid[17:32])::UBIGINT AS low")
    found = connection.execute(
        f"SELECT {', '.join(halves)} FROM (SELECT uid {kept}) ORDER BY high, low"
    ).fetchnumpy()
    rows = _save(found["high"], found["low"], out)
    return _plain(begin, rows)


def polars_way(folder: Path, question: str, out: Path) -> dict[str, Any]:
    """Select and save as one would with Polars alone."""
    import polars as pl

    begin = time.perf_counter()
    kept = pl.scan_parquet(folder / "*.parquet")
    if question == "where":
        kept = kept.filter((pl.col("itm") >= 66) & (pl.col("odf") >= 20))
    else:
        kept = kept.filter(pl.col("itm").is_not_null())
        scorable = kept.select(pl.len()).collect(engine="streaming").item()
        kept = kept.select("uid", "itm").top_k(int(scorable * Fraction(str(TOP))), by="itm")
    found = (
        kept.select(
            high=pl.col("uid").str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64),
            low=pl.col("uid").str.slice(16, 16).str.to_integer(base=16, dtype=pl.UInt64),
        )
        .sort("high", "low")
        .collect(engine="streaming")
    )
    rows = _save(found["high"].to_numpy(), found["low"].to_numpy(), out)
    return _plain(begin, rows)


def _plain(begin: float, rows: int) -> dict[str, Any]:
    return {
        "seconds": time.perf_counter() - begin,
        "processor": processor_seconds(),
        "rows": rows,
        "peak": peak_memory(),
    }


PLAIN = {"numpy": numpy_way, "duckdb": duckdb_way, "polars": polars_way}


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
    if "threshold" not in theirs:  # a limit: as many rows, others of equal score
        assert ours["kept"] == ours["rows"] == theirs["rows"], (ours, theirs)
        differ = len(np.setdiff1d(mine, other, assume_unique=True))
        assert differ <= ours["ties_kept"], (differ, ours)
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


def _told(name: str, found: dict[str, Any]) -> str:
    return (
        f"{name:8} {found['seconds']:7.1f} s, {found['processor']:7.1f} s of processor  "
        f"{found['peak'] / GIBIBYTE:5.2f} GiB"
    )


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
    parser.add_argument("--against", default="numpy", help="numpy, duckdb, polars, with commas")
    parser.add_argument("--json", type=Path, help="write the figures there")
    for hidden in ("--way", "--question"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    scores = options.folder / "scores"
    if options.way in PLAIN:
        print(json.dumps(PLAIN[options.way](scores, options.question, options.out)))
        return
    if options.way == "pairsift":
        found = pairsift_way(scores, options.question, options.out, options.memory, options.threads)
        print(json.dumps(found))
        return
    make_score_folder(scores, options.rows, options.tables, options.duplicates)
    names = ["pairsift", *options.against.split(",")]
    results = []
    for turn in range(options.rounds):
        for question in ("where", "top"):
            outs = {name: options.folder / f"{question}-{name}.npy" for name in names}
            # Every method comes first once.
            order = names[turn % len(names) :] + names[: turn % len(names)]
            row = {name: run_alone(options, name, question, outs[name]) for name in order}
            ours = row["pairsift"]
            over = (ours["peak"] - bytes_of(options.memory)) / GIBIBYTE
            print(
                f"{question:5}  {ours['kept']:,} of {ours['scored']:,} rows, the same in all\n"
                f"  {_told('pairsift', ours)}, {over:+.2f} GiB to DuckDB's limit of "
                f"{options.memory}; of the seconds {ours['select_seconds']:.1f} are select's"
            )
            for name in names[1:]:
                theirs = row[name]
                check(question, ours, theirs, [outs["pairsift"], outs[name]])
                print(
                    f"  {_told(name, theirs)}; ours is {theirs['seconds'] / ours['seconds']:.2f} "
                    f"times as fast, {theirs['processor'] / ours['processor']:.2f} times by "
                    "processor time",
                    flush=True,
                )
            results.append({"question": question, **row})
            for out in outs.values():
                out.unlink()
                shutil.rmtree(out.with_suffix(""), ignore_errors=True)
    for question in ("where", "top"):
        rows = [row for row in results if row["question"] == question]
        for name in names[1:]:
            ratios = [row[name]["seconds"] / row["pairsift"]["seconds"] for row in rows]
            print(f"{question}: {median(ratios):.2f} times as fast as {name}, median of rounds")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    if multiprocessing.get_start_method(allow_none=True) is None:
        multiprocessing.set_start_method("spawn")
    main()
