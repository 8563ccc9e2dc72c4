"""Several scorer processes on this machine: the same tables, whatever dies."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines import local, node
from pairsift.engines.devices import cores
from pairsift.engines.settings import MAX_STARTS
from pairsift.progress import NullListener
from pairsift.sources import find_shards
from tests.engines.conftest import tables
from tests.samples import good_samples, write_tar
from tests.support.commands import pairsift
from tests.support.faults import kill_devices, make_pool, scorer_processes
from tests.support.listeners import Recorder

pytestmark = pytest.mark.skipif(cores() < 2, reason="needs two cores")

HEURISTICS = node.ScorerSpec("heuristics")


class Killer(Recorder):
    """Kills scorer processes of this one while they score."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
        super().progress(task, done, total, **more)
        if self.left and done > 20 * (3 - self.left):
            for victim in scorer_processes(os.getpid())[: self.left]:  # the first one, or both
                victim.kill()
                self.left -= 1


def score(pool: Path, out: Path, **more: Any) -> Any:
    more = {"devices": "cpu:2", "batch_size": 3, "workers": 0} | more
    return node.score_shards(find_shards(str(pool)), HEURISTICS, str(out), **more)


def reference(pool: Path, out: Path) -> dict[str, Any]:
    local.score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(out), workers=0)
    return tables(out)


@pytest.mark.slow
def test_tables_are_those_of_one_process(pool: Path, tmp_path: Path) -> None:
    (pool / "00004.tar").write_bytes(b"no tar" * 500)
    recorder, out = Recorder(), tmp_path / "node"
    summary = score(pool, out, listener=recorder)
    assert tables(out) == reference(pool, tmp_path / "local")
    assert summary.statuses == {"ok": 76, "image_missing": 4}
    assert (summary.rows, summary.skipped, summary.scored) == (80, 0, 4)
    assert list(summary.unreadable) == ["00004"]
    task, *counts, more = recorder.reports[-1]
    assert (task, counts, more["estimated"]) == ("scoring", [80, 80], False)
    assert more["detail"] == "shard 5/5, 4 failed: 4 image_missing"
    assert [text.split(":")[0] for text in recorder.messages] == ["00004"]
    (pool / "00004.tar").unlink()
    assert score(pool, out).skipped == 4


@pytest.mark.slow
def test_goes_on_where_one_process_stopped(pool: Path, tmp_path: Path) -> None:
    shards, out = find_shards(str(pool)), tmp_path / "out"
    local.score_shards(shards, load_scorer("heuristics"), str(out), part=(1, 2))
    summary = score(pool, out, devices="cpu:1")
    assert (summary.skipped, summary.scored, summary.rows) == (2, 2, 40)
    assert tables(out) == reference(pool, tmp_path / "local")
    hashes = node.ScorerSpec("hashes")
    with pytest.raises(PairsiftError, match="scorer is 'heuristics' there and 'hashes' now"):
        node.score_shards(shards, hashes, str(out), devices="cpu:2")  # nothing is left to score


@pytest.mark.slow
def test_a_killed_process_costs_a_shard_at_most(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", shards=6, samples=24)
    killer, out = Killer(3), tmp_path / "out"
    summary = score(pool, out, listener=killer)
    assert killer.left == 0
    told = [text for text in killer.messages if "was killed by signal 9" in text]
    assert len(told) >= 2  # the third one may die when nothing is left to do
    assert all("the scorer process on cpu (" in text for text in told)
    assert summary.rows == 6 * 24
    assert killer.reports[-1][1:3] == (144, 144)
    assert tables(out) == reference(pool, tmp_path / "local")
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_errors_end_all_processes(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PairsiftError, match="^no scorer 'nosuch'"):
        node.score_shards(
            find_shards(str(pool)), node.ScorerSpec("nosuch"), str(out), devices="cpu:2"
        )
    broken = tmp_path / "broken"
    broken.mkdir()
    for shard in range(4):
        write_tar(
            broken / f"{shard}.tar", {f"k{index}": {"txt": "no image"} for index in range(500)}
        )
    with pytest.raises(PairsiftError, match=r"--max-failure-rate 0.05 .*/k0: image_missing"):
        score(broken, out)
    assert not scorer_processes(os.getpid())


class StopError(Exception):
    """Raised by a listener."""


@pytest.mark.slow
def test_a_stopped_run_leaves_a_folder_for_any_scorer(pool: Path, tmp_path: Path) -> None:
    class Stopper(NullListener):
        def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
            if done:
                raise StopError

    one = tmp_path / "one"
    one.mkdir()
    write_tar(one / "0.tar", good_samples(200))
    with pytest.raises(StopError):
        score(one, tmp_path / "out", listener=Stopper())
    assert not scorer_processes(os.getpid())
    assert list((tmp_path / "out").iterdir()) == []


DEADLY = """
import os

import numpy as np
import pyarrow as pa

from pairsift.scorers.base import Preparer, Scorer


class Deadly(Scorer):
    "Ends its process with a caption; not in a table of a fingerprint that others have."
    name = "deadly"
    columns = (pa.field("length", pa.int32()),)
    fingerprint = {"scorer": "deadly", "scorer_version": "1"}

    def __init__(self, word="deadly", when="scored"):
        if when == "loaded":
            os._exit(7)
        self.word = word
        self.preparer = Preparer(lambda image, caption: caption)

    def score_batch(self, inputs):
        if any(self.word in caption for caption in inputs):
            os.kill(os.getpid(), 11)
        return {"length": np.array([len(caption) for caption in inputs])}
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer from another package, as spawned processes find it too."""
    folder = tmp_path / "package"
    (folder / "deadly-1.dist-info").mkdir(parents=True)
    (folder / "deadly.py").write_text(DEADLY)
    (folder / "deadly-1.dist-info" / "METADATA").write_text("Name: deadly\nVersion: 1\n")
    entry = "[pairsift.scorers]\ndeadly = deadly:Deadly\n"
    (folder / "deadly-1.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(folder))  # a spawned process gets this process's sys.path


@pytest.mark.slow
def test_a_shard_that_kills_its_process_is_left_out(
    deadly: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, recorder = tmp_path / "pool", Recorder()
    pool.mkdir()
    for shard in range(6):
        samples = good_samples(10, f"{shard}-")
        if shard == 2:
            samples["2-bad"] = {**next(iter(samples.values())), "txt": "a deadly caption"}
        write_tar(pool / f"{shard}.tar", samples)
    summary = node.score_shards(
        find_shards(str(pool)),
        node.ScorerSpec("deadly"),
        str(tmp_path / "out"),
        devices="cpu:2",
        workers=0,
        max_failure_rate=1,
        listener=recorder,
    )
    assert list(summary.unreadable) == ["2"]
    assert f"ended {MAX_STARTS} times, with the process, on this shard" in summary.unreadable["2"]
    assert sorted(tables(tmp_path / "out")) == [f"{shard}.parquet" for shard in (0, 1, 3, 4, 5)]
    told = [text for text in recorder.messages if "killed by signal 11 while it scored 2" in text]
    assert 1 <= len(told) <= MAX_STARTS


@pytest.mark.slow
def test_a_process_that_cannot_start_is_one_clear_line(
    deadly: None, pool: Path, tmp_path: Path
) -> None:
    spec = node.ScorerSpec("deadly", {"when": "loaded"})
    out = tmp_path / "out"
    with pytest.raises(
        PairsiftError, match=r"on cpu \(. of 2\) ended with code 7 while it started"
    ):
        node.score_shards(find_shards(str(pool)), spec, str(out), devices="cpu:2")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--devices", "gpu"), "--devices 'gpu': unknown device 'gpu'; give all, GPU numbers"),
        (("--devices", "cpu:2", "--engine", "ray"), "--devices is for the local engine"),
        (("--devices", "cpu:2", "--device", "cpu"), "--device and --devices: give one of the two"),
    ],
)
def test_wrong_options_are_one_line(
    pool: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    out = tmp_path / "out"
    done = pairsift("score", pool, "--out", out, "--scorer", "heuristics", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", shards=8, samples=40)
    options = Namespace(scorer="heuristics", kills=6, seed=3)
    (findings,) = kill_devices(pool, tmp_path / "work", options)
    assert findings.faults >= 6
    assert (findings.wrong, findings.orphans) == ([], 0)
