"""The Ray engine on a real cluster of this machine's two cores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairsift import PairsiftError, load_scorer, steps
from pairsift.engines import local
from pairsift.engines.base import Job
from pairsift.engines.changed import KNOWN
from pairsift.engines.settings import MAX_STARTS, WorkerSettings
from pairsift.options import ScoreOptions
from pairsift.scores import SHARD_NAMES
from pairsift.sources import find_shards
from tests.cascade.conftest import assert_same, words_plan
from tests.engines.conftest import tables
from tests.samples import good_samples, write_tar
from tests.scorers.test_carrier import write_pool
from tests.support.faults import SCORERS, actors_named, scoring_actors

ray = pytest.importorskip("ray", reason="needs pairsift[ray]")
pytest.importorskip("ray.data", reason="needs pairsift[ray]")
from pairsift.engines import ray as engine  # noqa: E402
from pairsift.engines import ray_actors as actors  # noqa: E402
from tests.support.listeners import Recorder  # noqa: E402

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    for attempts_left in (2, 1, 0):
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                object_store_memory=100 * 2**20,
            )
            break
        except Exception:  # Ray gives its processes 20 s to come up, however busy the machine is
            ray.shutdown()
            if not attempts_left:
                raise
    yield
    ray.shutdown()


HEURISTICS = engine.ScorerSpec("heuristics")
TWO = engine.RayOptions(actors=2)


@pytest.mark.slow
def test_without_an_address_no_other_cluster_is_looked_for(pool: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # Ray's sockets need a short path
        (Path(folder) / "ray").mkdir()
        # As `ray start --head` leaves it on its machine; nothing listens there.
        (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        done = subprocess.run(
            [sys.executable, "-m", "pairsift", "score", str(pool), "--scorer", "heuristics",
             "--engine", "ray", "--out", str(tmp_path / "scores")],
            env=environment | {"RAY_TMPDIR": folder}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:9" not in done.stderr


@pytest.mark.slow
def test_tables_are_those_of_the_local_engine(cluster: None, pool: Path, tmp_path: Path) -> None:
    (pool / "00004.tar").write_bytes(b"no tar" * 500)
    shards = find_shards(str(pool))
    recorder = Recorder()
    summary = engine.score_shards(
        shards, HEURISTICS, str(tmp_path / "ray"), ray_options=TWO, batch_size=3, listener=recorder
    )
    local.score_shards(shards, load_scorer("heuristics"), str(tmp_path / "local"))
    assert tables(tmp_path / "ray") == tables(tmp_path / "local")
    assert summary.statuses == {"ok": 76, "image_missing": 4}
    assert (summary.rows, summary.skipped) == (80, 0)
    task, *counts, more = recorder.reports[-1]
    assert (task, counts, more["estimated"]) == ("scoring", [80, 80], False)
    assert more["detail"] == "shard 5/5, 4 failed: 4 image_missing"
    assert list(summary.unreadable) == ["00004"]
    assert [text.split(":")[0] for text in recorder.messages] == ["00004"]


@pytest.mark.slow
def test_a_refused_run_leaves_no_names_of_its_shards(
    cluster: None, pool: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    local.score_shards(find_shards(str(pool / "00000.tar")), load_scorer("heuristics"), str(out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    manifest = out / "_run.json"
    manifest.write_text(
        manifest.read_text().replace('"scorer_version": "2"', '"scorer_version": "0"')
    )
    shards = find_shards(str(pool))
    with pytest.raises(PairsiftError, match="scorer_version is '0' there and '2' now"):
        engine.score_shards(shards, HEURISTICS, str(out), ray_options=TWO)
    assert (out / SHARD_NAMES).read_bytes() == before[SHARD_NAMES]
    manifest.write_bytes(before["_run.json"])
    other = find_shards(str(pool), caption="json.alt")
    with pytest.raises(PairsiftError, match="caption_field is None there and 'json.alt' now"):
        engine.score_shards(other, HEURISTICS, str(out), ray_options=TWO)
    assert {path.name for path in out.iterdir()} - {KNOWN} == set(before)
    assert (out / SHARD_NAMES).read_bytes() == before[SHARD_NAMES]


@pytest.mark.slow
def test_goes_on_where_the_local_engine_stopped(cluster: None, pool: Path, tmp_path: Path) -> None:
    shards = find_shards(str(pool))
    out = tmp_path / "out"
    local.score_shards(shards, load_scorer("heuristics"), str(out), part=(1, 2))
    summary = engine.score_shards(shards, HEURISTICS, str(out), ray_options=TWO)
    assert (summary.skipped, summary.scored, summary.rows) == (2, 2, 40)
    local.score_shards(shards, load_scorer("heuristics"), str(tmp_path / "local"))
    assert tables(out) == tables(tmp_path / "local")
    manifest = out / "_run.json"
    manifest.write_text(
        manifest.read_text().replace('"scorer_version": "2"', '"scorer_version": "0"')
    )
    for nothing_left in (True, False):  # refused also when there is nothing to score
        if not nothing_left:
            (out / "00000.parquet").unlink()
        with pytest.raises(PairsiftError, match="scorer_version is '0' there and '2' now"):
            engine.score_shards(shards, HEURISTICS, str(out), ray_options=TWO)


@pytest.mark.slow
def test_a_cascade_is_a_scorer_like_any_other(cluster: None, pool: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    words_plan().write(plan)
    spec = engine.ScorerSpec("cascade", {"plan": str(plan)})
    shards = find_shards(str(pool))
    one = engine.RayOptions(actors=1)
    engine.score_shards(shards, spec, str(tmp_path / "ray"), ray_options=one)
    local.score_shards(shards, spec.load(), str(tmp_path / "local"))
    assert_same(tables(tmp_path / "ray"), tables(tmp_path / "local"))


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["heuristics", "cascade"])
def test_carried_fields_are_those_of_the_local_engine(
    cluster: None, tmp_path: Path, scorer: str
) -> None:
    """One of the samples has no image that can be read, and its fields all the same."""
    plan = tmp_path / "plan.json"
    words_plan().write(plan)
    options = ScoreOptions(
        shards=(str(write_pool(tmp_path / "pool")),),
        scorer=scorer,
        carry=("url", "pages:integer", "license=meta.license"),
        hashes=True,
        scorer_option=(("plan", str(plan)),) if scorer == "cascade" else (),
        max_failure_rate=1,
    )
    shards = steps.find_input(options.shards, options)
    steps.score(options, shards, str(tmp_path / "local"))
    steps.score(replace(options, engine="ray", actors="1"), shards, str(tmp_path / "ray"))
    found = tables(tmp_path / "ray")
    assert_same(found, tables(tmp_path / "local"))
    rows = [row for table in found.values() for row in table.to_pylist()]
    assert [row["pages"] for row in rows] == list(range(12))
    assert [row["license"] for row in rows] == [None, "CC-BY"] * 6
    assert [row["url"] for row in rows if row["status"] != "ok"] == ["http://c.org/5.jpg"]


@pytest.mark.slow
def test_unknown_scorer_is_one_clear_line(cluster: None, pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PairsiftError, match="^no scorer 'nosuch'"):
        engine.score_shards(
            find_shards(str(pool)), engine.ScorerSpec("nosuch"), str(out), ray_options=TWO
        )
    assert not out.exists()


@pytest.mark.slow
def test_too_many_failures_stop_the_run(cluster: None, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    write_tar(pool / "0.tar", {f"k{index}": {"txt": "no image"} for index in range(3000)})
    with pytest.raises(PairsiftError, match=r"--max-failure-rate 0.05 .*0/k0: image_missing"):
        engine.score_shards(
            find_shards(str(pool)), HEURISTICS, str(tmp_path / "out"), ray_options=TWO
        )


@pytest.mark.slow
def test_killed_actors_cost_nothing(cluster: None, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for shard in range(12):
        write_tar(pool / f"{shard:02d}.tar", good_samples(60, f"{shard}-"))
    shards = find_shards(str(pool))
    killer = _ActorKiller(3)
    killer.start()
    try:
        summary = engine.score_shards(
            shards, HEURISTICS, str(tmp_path / "ray"), ray_options=TWO, batch_size=4
        )
    finally:
        killer.stop()
    assert killer.kills >= 1
    assert summary.rows == 720
    local.score_shards(shards, load_scorer("heuristics"), str(tmp_path / "local"))
    assert tables(tmp_path / "ray") == tables(tmp_path / "local")
    names = {path.name for path in (tmp_path / "ray").iterdir()}
    assert names == {path.name for path in (tmp_path / "local").iterdir()}


@pytest.mark.slow
def test_a_killed_board_costs_nothing_but_progress(
    cluster: None, pool: Path, tmp_path: Path
) -> None:
    for shard in range(4, 40):
        (pool / f"{shard:05d}.tar").hardlink_to(pool / "00000.tar")
    shards = find_shards(str(pool))
    killer = _ActorKiller(1, "ray::Board")
    killer.start()
    try:
        summary = engine.score_shards(
            shards, HEURISTICS, str(tmp_path / "ray"), ray_options=TWO, batch_size=1
        )
    finally:
        killer.stop()
    assert killer.kills == 1
    assert summary.rows == 40 * 20
    local.score_shards(shards, load_scorer("heuristics"), str(tmp_path / "local"))
    assert tables(tmp_path / "ray") == tables(tmp_path / "local")


class _ActorKiller(threading.Thread):
    """SIGKILLs processes of actors, about one a second."""

    def __init__(self, count: int, name: str = SCORERS) -> None:
        super().__init__(daemon=True)
        self.kills = 0
        self._count = count
        self._name = name
        self._over = threading.Event()

    def run(self) -> None:
        while self.kills < self._count and not self._over.wait(0.2):
            for actor in actors_named(self._name)[:1]:
                actor.kill()
                self.kills += 1
                self._over.wait(0.5)

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.slow
def test_a_shard_that_always_kills_its_scorer_is_left_out(
    cluster: None, pool: Path, tmp_path: Path
) -> None:
    # The board counts starts: as if every scorer had died on this shard.
    shards = find_shards(str(pool))
    out = tmp_path / "out"
    settings = WorkerSettings(HEURISTICS, str(out), shards.root, None, 0, "run")
    board = ray.remote(actors.Board).options(num_cpus=0).remote()
    for _ in range(MAX_STARTS):
        board.begin.remote("00001")
    actor = ray.remote(actors.ShardActor).options(num_cpus=0).remote(settings, board)
    jobs = [actors.job_to_json(Job(shard)) for shard in shards.shards]
    call = actor.__call__.options(num_returns="streaming").remote({"job": jobs})
    rows = [ray.get(item)["result"][0] for item in call]
    assert [('"unreadable"' in row, "ended 10 times" in row) for row in rows] == [
        (True, True),
        (False, False),
        (False, False),
        (False, False),
    ]
    assert not (out / "00001.parquet").exists()
    assert (out / "00001.unreadable.json").exists()


@pytest.mark.slow
def test_stopping_ends_the_work_on_a_cluster_that_goes_on(cluster: None, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    write_tar(pool / "000.tar", good_samples(400, "many-"))
    for shard in range(1, 400):
        (pool / f"{shard:03}.tar").hardlink_to(pool / "000.tar")

    class Stop(Recorder):
        def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
            if done:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.score_shards(
            find_shards(str(pool)),
            HEURISTICS,
            str(tmp_path / "out"),
            ray_options=TWO,
            batch_size=2,
            listener=Stop(),
        )
    assert len(list((tmp_path / "out").glob("*.parquet"))) < 400
    assert ray.is_initialized()
    deadline = time.monotonic() + 120  # the cluster ends actors in its own time
    while scoring_actors() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not scoring_actors()
