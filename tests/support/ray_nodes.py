"""A Ray cluster of several nodes on this machine, each with a `ray start` of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.faults import SCORERS, actors_named

# Every process of the cluster and the command have to agree on them. A dead node is noticed after
# 5 checks of half a second, not of 3; a slow one still has 10 seconds to answer each.
VARIABLES = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_worker_niceness": "0",  # not 15: on a busy machine, workers would hardly run
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Node:
    """A `ray start --block` and everything below it: the raylet, its agents and its workers."""

    process: psutil.Process

    def raylet(self) -> psutil.Process | None:
        """The process that is the node for the others."""
        found = actors_named("/raylet/raylet --", self.process)
        return found[0] if found else None

    def scorers(self) -> list[psutil.Process]:
        """The workers that score."""
        return actors_named(SCORERS, self.process)

    def kill(self) -> int:
        """SIGKILL everything, as if the power failed; returns how many processes were running."""
        everyone = [*self._below(), self.process]
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(everyone, timeout=30)
        return len(everyone)

    def _below(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return self.process.children(recursive=True)
        return []


@dataclass
class Nodes:
    """The cluster: its address, and its nodes in the order in which they joined."""

    address: str
    log: Path
    nodes: list[Node] = field(default_factory=list)

    def join(self) -> Node:
        """Add a node of one CPU; returns at once."""
        # An address of its own, as other machines have one.
        ip = f"127.0.0.{len(self.nodes) + 1}"
        return self._start("--address", self.address, "--num-cpus", "1", "--node-ip-address", ip)

    def _start(self, *options: str) -> Node:
        command = (
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
            "--object-store-memory", str(100 * 2**20), "--min-worker-port", "0",
            "--max-worker-port", "0", "--dashboard-agent-listen-port", "0", *options,
        )  # fmt: skip
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(), start_new_session=True
            )
        self.nodes.append(Node(psutil.Process(started.pid)))
        return self.nodes[-1]


@contextlib.contextmanager
def ray_nodes(head_cpus: int = 0) -> Iterator[Nodes]:
    """A cluster with a head, which the caller may extend; all of it is killed at the end."""
    # Ray makes sockets there, whose paths may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    cluster = Nodes(f"127.0.0.1:{port}", folder / "start.log")
    try:
        cluster._start(
            "--head", "--port", str(port), "--num-cpus", str(head_cpus),
            "--temp-dir", str(folder), "--include-dashboard", "false",
        )  # fmt: skip
        wait_for(cluster.nodes[0].raylet)
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def environment() -> dict[str, str]:
    """What every process of the cluster, and the command, is started with."""
    return dict(os.environ) | VARIABLES


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until it holds.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain")
        time.sleep(0.05)
