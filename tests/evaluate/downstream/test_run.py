"""The whole comparison on drawn shapes, with the real filter, from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import read_pool
from pairsift.evaluate.downstream.features import FeatureCache
from pairsift.evaluate.downstream.run import Options, Sources, evaluate_downstream
from pairsift.progress import NullListener
from pairsift.sources import find_shards
from tests.evaluate.downstream.conftest import World


@pytest.fixture(scope="module")
def done(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of filters by two metrics of the filter in the package."""
    out = tmp_path_factory.mktemp("downstream")
    evaluate_downstream(_sources(world), str(out), _options())
    return out


def _sources(world: World) -> Sources:
    return Sources(
        images=[str(world.images)],
        captions=str(world.captions),
        alt_text=str(world.alt_text),
        retrieval_images=[str(world.test_images)],
        classification=[str(world.classes)],
    )


def _options() -> Options:
    return Options(
        scorers=("pairsift-tiny",),
        seeds=2,
        samples_seen=1000,
        jobs=1,
        scorer_options={"metrics": "itm,odf"},
    )


@pytest.mark.slow
def test_every_filter_is_measured(done: Path) -> None:
    result = json.loads((done / "result.json").read_text())
    filters = {entry["filter"]: entry for entry in result["filters"]}
    assert list(filters) == [
        "none",
        "random",
        "labels",
        "pairsift-tiny itm",
        "pairsift-tiny odf",
        "pairsift-tiny itm AND odf",
        "pairsift-tiny itm OR odf",
    ]
    assert filters["none"]["pairs"] == 144
    assert all(entry["pairs"] == 43 for name, entry in filters.items() if name != "none")
    # 40 % of the pool is clean: a perfect filter keeps nothing else, and no filter keeps all noise.
    assert filters["labels"]["quality"]["precision"] == 1
    assert filters["none"]["quality"] == pytest.approx(
        {"precision": 0.4, "noise_dropped": 0, "clean_kept": 1}, abs=0.02
    )
    # Drawn shapes are nothing the filter was trained on, so its subset need not be cleaner.
    for metric in ("itm", "odf"):
        best_pairs = duckdb.sql(
            f"select clean from '{done}/scores/pairsift-tiny/*.parquet' "
            f"join '{done}/labels.parquet' using (shard, key) order by {metric} desc limit 43"
        ).fetchall()
        precision = filters[f"pairsift-tiny {metric}"]["quality"]["precision"]
        assert precision == pytest.approx(sum(clean for (clean,) in best_pairs) / 43)
    # What is true teaches: twelve classes of shapes are learnt from clean pairs.
    best, random = (filters[name]["scores"] for name in ("labels", "random"))
    assert best["classification"]["value"] > random["classification"]["value"]
    assert best["classification"]["value"] > 0.6
    minus = filters["labels"]["minus"]["random"]["classification"]["value"]
    assert minus == pytest.approx(
        best["classification"]["value"] - random["classification"]["value"]
    )
    text = (done / "table.md").read_text()
    assert "| pairsift-tiny itm | 30 % | 43 |" in text
    assert "near duplicate" in text
    assert b"pairsift-tiny itm AND odf" in (done / "plot.svg").read_bytes()


@pytest.mark.slow
def test_a_second_run_does_only_what_is_missing(done: Path, world: World) -> None:
    runs = sorted((done / "runs").iterdir())
    assert len(runs) == 14
    gone = next(path for path in runs if path.name.startswith("labels-0.3-1-"))
    was = json.loads(gone.read_text())
    gone.unlink()
    times = {path: path.stat().st_mtime_ns for path in done.rglob("*.npz")}
    times |= {path: path.stat().st_mtime_ns for path in runs if path != gone}
    told: list[tuple[int, int | None]] = []

    class Diary(NullListener):
        def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
            if task == "training":
                told.append((done, total))

    evaluate_downstream(_sources(world), str(done), _options(), Diary())
    assert told == [(0, 1), (1, 1)]
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = json.loads(gone.read_text())
    # The same student: on one thread, equal seeds give equal numbers.
    assert again["scores"] == was["scores"]


@pytest.mark.slow
def test_worker_processes_find_the_same(done: Path, world: World, tmp_path: Path) -> None:
    """A user's own pool, with labels of its own, students in two processes."""
    options = Options(scorers=("heuristics",), seeds=1, samples_seen=1000, jobs=2)
    sources = Sources(
        pool=[str(done / "pool")],
        labels=str(done / "labels.parquet"),
        retrieval_images=[str(world.test_images)],
        retrieval_captions=str(world.captions),
        classification=[str(world.classes)],
    )
    found = evaluate_downstream(sources, str(tmp_path), options)
    before = json.loads((done / "result.json").read_text())
    runs = {path.name.rsplit("-", 2)[0]: path for path in (done / "runs").glob("*-0-*")}
    assert len(runs) == 7
    same = [path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("heur")]
    assert len(same) == 3
    for path in same:
        scores = json.loads(path.read_text())["scores"]
        assert scores == json.loads(runs[path.name.rsplit("-", 2)[0]].read_text())["scores"]
    assert [result.filter for result in found.results] == ["none", "random", "labels", "heuristics"]
    assert before["pairs"] == found.pairs == 144


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_process_and_goes_on(
    blow: signal.Signals, done: Path, world: World, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out, ignore=shutil.ignore_patterns("runs", "result.json"))
    command = [sys.executable, "-m", "pairsift", "evaluate", "downstream", "--jobs", "2"]
    command += ["--pool", str(out / "pool"), "--labels", str(out / "labels.parquet")]
    command += ["--classification", str(world.classes), "--scorer", "heuristics"]
    command += ["--seeds", "2", "--samples-seen", "1500", "--out", str(out)]
    runner = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*.json")) and time.monotonic() < deadline:
        assert runner.poll() is None, runner.communicate()[1]
        time.sleep(0.05)
    children = psutil.Process(runner.pid).children(recursive=True)
    runner.send_signal(blow)
    runner.communicate(timeout=60)
    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*.json")}
    assert 1 <= len(kept) < 8
    sources = Sources(
        pool=[str(out / "pool")],
        labels=str(out / "labels.parquet"),
        classification=[str(world.classes)],
    )
    options = Options(scorers=("heuristics",), seeds=2, samples_seen=1500, jobs=1)
    evaluate_downstream(sources, str(out), options)
    assert len(list(out.glob("runs/*.json"))) == 8
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_test_images_in_the_pool_are_refused(done: Path, world: World) -> None:
    sources = Sources(
        pool=[str(done / "pool")],
        retrieval_images=[str(world.images)],
        retrieval_captions=str(world.captions),
    )
    with pytest.raises(PairsiftError, match="36 images of .* are also in the pool, for example"):
        evaluate_downstream(sources, str(done), Options(scorers=("heuristics",)))


@pytest.mark.slow
def test_labels_must_be_of_the_pool(done: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("key,clean\n000000-0,true\n")
    shards = find_shards([str(done / "pool")])
    with pytest.raises(PairsiftError, match="no label for 143 of 144 pairs"):
        read_pool(shards, str(tmp_path / "labels.csv"), FeatureCache(str(done)))
