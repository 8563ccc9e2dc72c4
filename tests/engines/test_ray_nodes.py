"""A Ray cluster that loses a machine and gets another one in the middle of a run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pairsift import load_scorer
from pairsift.engines import local
from pairsift.sources import find_shards
from tests.engines.conftest import tables
from tests.samples import good_samples, write_tar
from tests.support.faults import COMMAND
from tests.support.ray_nodes import environment, ray_nodes, wait_for

pytest.importorskip("ray.data", reason="needs pairsift[ray]")

pytestmark = pytest.mark.xdist_group("ray")
SHARDS, SAMPLES = 20, 60


@pytest.mark.slow
def test_a_killed_machine_costs_no_row(tmp_path: Path) -> None:
    pool, out = tmp_path / "pool", tmp_path / "ray"
    pool.mkdir()
    for shard in range(SHARDS):
        write_tar(pool / f"{shard:02d}.tar", good_samples(SAMPLES, f"{shard}-"))
    with ray_nodes() as cluster:  # the head has no CPU for scorers
        first = cluster.join()
        command = (
            *COMMAND, "score", str(pool), "--out", str(out), "--scorer", "heuristics", "--json",
            "--engine", "ray", "--ray-address", cluster.address, "--actors", "1:2",
            "--batch-size", "2",
        )  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as run:
            wait_for(lambda: any(out.glob("*.parquet")) or run.poll() is not None, 240)
            assert first.scorers()
            first.kill()
            done = len(tables(out))
            assert 1 <= done < SHARDS
            cluster.join()
            printed, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    summary = json.loads(printed)
    assert summary["unreadable"] == {}
    assert summary["shards"] == SHARDS
    local.score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(tmp_path / "local"))
    assert tables(out) == tables(tmp_path / "local")
    assert {path.name for path in out.iterdir()} == {
        path.name for path in (tmp_path / "local").iterdir()
    }
    keys = pq.read_table(str(out), columns=["shard", "key"]).to_pylist()
    assert len({tuple(row.values()) for row in keys}) == len(keys) == SHARDS * SAMPLES
