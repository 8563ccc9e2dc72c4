"""How long `pairsift dedup` takes for many rows, in how much memory, and whether it is exact.

    python benchmarks/dedup_scale.py --rows 1_280_000 6_400_000 12_800_000 --like LIST.parquet \
        --folder F

Makes score tables of hashes alone (once; kept for the next run). Every hash is one of a real image
(`--like`, a list that `pairsift hashes` wrote) with some bits changed, so that bits depend on each
other as they do in images; without `--like` the bits are random. 5 % of the rows are in planted
groups of 2 to 6, each a few bits from the first. Then it runs the command in a process of its own,
and once more with a kill in the middle, and checks:

- planted copies are in the group of their first;
- of 200 rows drawn at random, 100 of them planted, all rows within the distance (by brute force
  over all rows) are in their group, and rows without a group have none;
- the killed and resumed run wrote the very same groups.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.hashing import VERSION
from pairsift.pair import Status
from pairsift.scorers.hashes import HashesScorer
from pairsift.scores import ScoreFolder, score_schema, status_array

ROWS_PER_TABLE = 100_000
PLANTED = 0.05
DISTANCE = 4
CHANGED_BITS = 20
SAMPLE = 100


def make_hashes(rows: int, like: str | None) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) uint64 hashes, and for each row the first of its planted group, or itself."""
    rng = np.random.default_rng(rows)
    if like is None:
        hashes = rng.integers(0, 2**64, rows, dtype=np.uint64)
    else:
        real = pq.read_table(like)["image_phash"].drop_null().to_pylist()
        base = np.array([int(text, 16) for text in real], np.uint64)
        hashes = change(base[rng.integers(0, len(base), rows)], CHANGED_BITS, rng)
    first = np.arange(rows)
    planted = rng.permutation(rows)[: int(PLANTED * rows)]
    start = 0
    while start < len(planted) - 6:
        size = int(rng.integers(2, 7))
        members = planted[start : start + size]
        first[members] = members[0]
        bits = rng.choice([0, 2, 4])
        hashes[members[1:]] = change(np.repeat(hashes[members[0]], size - 1), int(bits), rng)
        start += size
    return hashes, first


def change(hashes: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Flip so many different bits of each."""
    mask = np.zeros(len(hashes), np.uint64)
    if bits:
        for begin in range(0, len(hashes), 1_000_000):
            part = slice(begin, begin + 1_000_000)
            keys = rng.random((len(mask[part]), 64), dtype=np.float32)
            places = np.argpartition(keys, bits, axis=1)[:, :bits].astype(np.uint64)
            mask[part] = np.bitwise_or.reduce(np.uint64(1) << places, axis=1)
    return hashes ^ mask


def make_scores(folder: Path, hashes: np.ndarray) -> None:
    scorer = HashesScorer()
    assert scorer.fingerprint["hashes"] == VERSION
    scores = ScoreFolder(str(folder), scorer.fingerprint, "/made")
    schema = score_schema(scorer.columns)
    for begin in range(0, len(hashes), ROWS_PER_TABLE):
        some = hashes[begin : begin + ROWS_PER_TABLE]
        part = pa.table({"h": some, "n": np.arange(begin, begin + len(some))})  # noqa: F841 - DuckDB finds it by its name
        texts = duckdb.sql(
            "SELECT n::VARCHAR AS key, md5(n::VARCHAR) || md5(h::VARCHAR) AS sha, "
            "format('{:016x}', h) AS phash, md5('c' || n) AS caption FROM part ORDER BY n"
        ).to_arrow_table()
        count = len(texts)
        name = f"{begin // ROWS_PER_TABLE:05}"
        columns = [
            pa.array([name] * count), texts["key"].combine_chunks(), pa.nulls(count, pa.string()),
            status_array([Status.OK] * count), pa.nulls(count, pa.string()),
            *[pa.nulls(count, pa.int32())] * 3,
            *(texts[column].combine_chunks() for column in ("sha", "phash", "caption")),
        ]  # fmt: skip
        scores.commit(name, pa.Table.from_arrays(columns, schema=schema), {"rows": count})


def run(scores: Path, out: Path, kill_after: float | None = None) -> dict[str, Any]:
    """Run the command; seconds, peak memory in GiB, and what it told."""
    command = [sys.executable, "-m", "pairsift", "dedup", str(scores), "--out", str(out), "--json",
               "--distance", str(DISTANCE)]  # fmt: skip
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    if kill_after is not None:
        threading.Timer(kill_after, process.send_signal, [signal.SIGKILL]).start()
    out_text = process.stdout.read()  # type: ignore[union-attr]
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    told = json.loads(out_text) if out_text else {}
    return {"seconds": seconds, "peak": usage.ru_maxrss / 2**20, "status": status, "told": told}


def check(out: Path, hashes: np.ndarray, first: np.ndarray) -> str:
    table = pq.read_table(out / "groups.parquet", columns=["key", "group"])
    group = np.full(len(hashes), -1, np.int64)
    codes = table["group"].combine_chunks().dictionary_encode()
    rows = np.array(table["key"].to_pylist(), dtype=np.int64)
    group[rows] = codes.indices.to_numpy()
    planted = np.flatnonzero(first != np.arange(len(first)))
    lost = int(((group[planted] < 0) | (group[planted] != group[first[planted]])).sum())
    rng = np.random.default_rng(1)
    sample = np.concatenate([rng.choice(planted, SAMPLE), rng.integers(0, len(hashes), SAMPLE)])
    wrong = pairs = 0
    for row in sample.tolist():
        close = np.flatnonzero(np.bitwise_count(hashes ^ hashes[row]) <= DISTANCE)
        pairs += len(close) - 1
        if len(close) > 1:
            wrong += int((group[close] != group[row]).sum() + (group[row] < 0))
        else:
            wrong += int(group[row] >= 0)
    return (
        f"{len(planted):,} planted copies, {lost} not with their first; {len(sample)} rows by "
        f"brute force, {pairs} pairs, {wrong} wrong"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    parser.add_argument("--like", help="a hash list of real images")
    parser.add_argument("--kill", type=float, default=0.5, help="share of the time before the kill")
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    for rows in asked.rows:
        hashes, first = make_hashes(rows, asked.like)
        scores = asked.folder / f"scores-{rows}"
        if not scores.exists():
            make_scores(scores, hashes)
        whole, killed = asked.folder / f"whole-{rows}", asked.folder / f"killed-{rows}"
        done = run(scores, whole)
        told = done["told"]
        print(
            f"{rows:,} rows: {done['seconds']:.0f} s, peak {done['peak']:.2f} GiB; "
            f"{told['pairs']:,} pairs, {told['grouped']:,} rows in {told['groups']:,} groups, "
            f"largest {told['largest']:,}; {check(whole, hashes, first)}",
            flush=True,
        )
        begun = run(scores, killed, done["seconds"] * asked.kill)
        ended = run(scores, killed)
        tables = [pq.read_table(folder / "groups.parquet") for folder in (whole, killed)]
        same = "the same groups" if tables[0].equals(tables[1]) else "OTHER GROUPS"
        print(
            f"  killed (status {begun['status']}) after {begun['seconds']:.0f} s, resumed: "
            f"{ended['seconds']:.0f} s, {same}",
            flush=True,
        )


if __name__ == "__main__":
    main()
