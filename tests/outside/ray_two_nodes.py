"""Score on a Ray cluster of two nodes while one is killed, and while another one joins.

    .venv/bin/python -m tests.outside.ray_two_nodes [--shards 1200] [--samples 100]

Each node is a `ray start` with ports of its own on this machine; the run is the command. Three runs
must leave the tables of an undisturbed run without Ray, with no row lost and none twice:

- killed: two nodes; one is killed in the middle (SIGKILL of its raylet, agents and workers), and
  another one joins.
- grown: one node and a pool `--actors 1:2`; another node joins in the middle.
- alone: two nodes and a pool `--actors 1:2`; one is killed in the middle, and no other one joins.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.support.faults import COMMAND, compare_tables, make_pool
from tests.support.ray_nodes import Node, Nodes, environment, ray_nodes, wait_for


@dataclass
class Run:
    """The command, on a cluster, into a folder."""

    out: Path
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, pool: Path, out: Path, *options: str) -> Run:
        command = (
            *COMMAND, "score", str(pool), "--out", str(out), "--scorer", "heuristics", "--json",
            "--batch-size", "8", "--max-failure-rate", "0.1", *options,
        )  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        return cls(out, process)

    def tables(self) -> int:
        return len(list(self.out.glob("*.parquet")))

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until it holds; the run must not be over before."""
        wait_for(lambda: condition() or self.process.poll() is not None, 600)
        assert self.process.poll() is None, "the run ended too soon: give more --shards"

    def end(self) -> dict[str, object]:
        printed, _ = self.process.communicate(timeout=1800)
        assert self.process.returncode == 0, f"the run ended with {self.process.returncode}"
        summary: dict[str, object] = json.loads(printed)
        return summary


def killed(cluster: Nodes, run: Run) -> dict[str, object]:
    """Kill the second node when both have scored, and let a third one join."""
    second = cluster.nodes[1]
    _both_score(run, cluster.nodes[0], second)
    processes, before = second.kill(), run.tables()
    third = cluster.join()
    run.wait_for(third.scorers)
    return {"processes killed": processes, "tables then": before, "tables when the third node "
            "scores": run.tables()}  # fmt: skip


def grown(cluster: Nodes, run: Run) -> dict[str, object]:
    """Let a second node join when the first one has scored."""
    run.wait_for(lambda: run.tables() >= 2)
    before = run.tables()
    second = cluster.join()
    run.wait_for(second.scorers)
    return {"tables then": before, "tables when the second node scores": run.tables()}


def alone(cluster: Nodes, run: Run) -> dict[str, object]:
    """Kill the second node when both have scored."""
    second = cluster.nodes[1]
    _both_score(run, cluster.nodes[0], second)
    return {"processes killed": second.kill(), "tables then": run.tables()}


def _both_score(run: Run, *nodes: Node) -> None:
    run.wait_for(lambda: all(node.scorers() for node in nodes))
    scored = run.tables()
    run.wait_for(lambda: run.tables() >= scored + 4)


CASES = {"killed": (killed, 2, "2"), "grown": (grown, 1, "1:2"), "alone": (alone, 2, "1:2")}


def main() -> None:
    """Run all cases, and print what happened in each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--shards", type=int, default=1200)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    packages = ("ray", "pyarrow", "torch")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    print("Python", platform.python_version(), *versions, sep=", ", flush=True)
    with tempfile.TemporaryDirectory(prefix="pairsift-ray-") as folder:
        work = Path(folder)
        # Copies of four shards: they take as long to score, and not as long to make.
        pool = make_pool(work / "pool", 4, options.samples)
        for shard in range(4, options.shards):
            (pool / f"{shard:05d}.tar").hardlink_to(pool / f"{shard % 4:05d}.tar")
        Run.start(pool, work / "local").end()
        for name in options.cases:
            act, nodes, actors = CASES[name]
            begin = time.perf_counter()
            with ray_nodes(head_cpus=1) as cluster:
                for _ in range(nodes - 1):
                    wait_for(cluster.join().raylet)
                run = Run.start(
                    pool, work / name, "--engine", "ray", "--ray-address", cluster.address,
                    "--actors", actors,
                )  # fmt: skip
                facts = act(cluster, run)
                summary = run.end()
            assert (wrong := compare_tables(run.out, work / "local")) is None, wrong
            keys = pq.read_table(run.out, columns=["shard", "key"]).to_pylist()
            rows = options.shards * options.samples
            assert len(keys) == len({tuple(row.values()) for row in keys}) == rows
            counts = {key: summary[key] for key in ("shards", "skipped", "rows")}
            seconds = round(time.perf_counter() - begin)
            print(f"{name}: {rows} rows, each once, equal to the undisturbed run; "
                  f"{facts | counts}, {seconds} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
