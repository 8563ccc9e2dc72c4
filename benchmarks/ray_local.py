"""Compare the Ray engine with the local one: the same shards, scorer and number of workers.

    python -m benchmarks.ray_local --workers 2 --shards 40 --samples 500

A worker is a process that preprocesses pairs: a decode process of the local engine, an actor of
Ray. The rate excludes the start of a run: it counts all rows after the first ones (one shard per
worker). The two engines run in turns, each into its own folder; the best run of each counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pairsift import load_scorer
from pairsift.engines import local
from pairsift.engines import ray as cluster
from pairsift.progress import NullListener
from pairsift.sources import ShardSet, find_shards
from tests.support.faults import compare_tables, make_pool, ray_cluster

ACCEPTED = 0.85


class Clock(NullListener):
    """A listener that records when how many rows were done."""

    def __init__(self) -> None:
        self.done: list[tuple[float, int]] = []

    def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
        self.done.append((time.perf_counter(), done))

    def rate(self, first: int) -> float:
        """Return rows per second after the first ones."""
        begin, rows = next(point for point in self.done if point[1] >= first)
        end, all_rows = self.done[-1]
        return (all_rows - rows) / (end - begin)


def run_local(shards: ShardSet, scorer: str, out: Path, workers: int, first: int) -> float:
    """Return rows per second of the local engine."""
    clock = Clock()
    local.score_shards(shards, load_scorer(scorer), str(out), workers=workers, listener=clock)
    return clock.rate(first)


def run_ray(shards: ShardSet, scorer: str, out: Path, workers: int, first: int) -> float:
    """Return rows per second of this many actors on the connected cluster."""
    clock = Clock()
    cluster.score_shards(
        shards,
        cluster.ScorerSpec(scorer),
        str(out),
        ray_options=cluster.RayOptions(actors=workers),
        listener=clock,
    )
    return clock.rate(first)


def main() -> int:
    """Measure and print JSON; the exit code says whether Ray reaches the required fraction."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scorer", default="heuristics")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory(prefix="pairsift-ray-") as name, ray_cluster():
        folder = Path(name)
        shards = find_shards(str(make_pool(folder / "pool", options.shards, options.samples)))
        first = options.workers * options.samples
        for turn in range(options.rounds):
            outs = {engine: folder / f"{engine}-{turn}" for engine in rates}
            for engine, run in (("local", run_local), ("ray", run_ray)):
                rate = run(shards, options.scorer, outs[engine], options.workers, first)
                rates[engine].append(rate)
            if (wrong := compare_tables(outs["ray"], outs["local"])) is not None:
                raise RuntimeError(wrong)
    best = {engine: max(found) for engine, found in rates.items()}
    report: dict[str, Any] = {
        "workers": options.workers,
        "rows_per_second": {engine: round(rate, 1) for engine, rate in best.items()},
        "all": {engine: [round(rate, 1) for rate in found] for engine, found in rates.items()},
        "ray_over_local": round(best["ray"] / best["local"], 3),
    }
    print(json.dumps(report))
    return 0 if report["ray_over_local"] >= ACCEPTED else 1


if __name__ == "__main__":
    sys.exit(main())
