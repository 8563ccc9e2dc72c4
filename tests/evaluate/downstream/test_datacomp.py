"""DataComp's commands for a selection, and its results in our table."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.datacomp import (
    DatacompRun,
    drive,
    missing,
    run_steps,
    steps,
)
from pairsift.evaluate.downstream.datacomp_results import (
    read_results,
)
from pairsift.progress import MessageListener, NullListener
from pairsift.scorers.registry import load_scorer
from pairsift.select import select
from pairsift.sources import find_shards
from tests.samples import good_samples, write_tar


def _run(tmp_path: Path, **given: object) -> DatacompRun:
    places = {name: str(tmp_path / name) for name in ("selection", "data", "code", "out")}
    return DatacompRun(scale="small", **(places | given))  # type: ignore[arg-type]


def test_the_batch_stays_what_the_scale_says(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="--gpus 3 .* does not divide the global batch"):
        _run(tmp_path, gpus=3)
    with pytest.raises(PairsiftError, match="no scale 'tiny'"):
        DatacompRun("tiny", "a", "b", "c", "d")


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    problems = " ".join(missing(_run(tmp_path)))
    for words in (
        "resharder.py, train.py",
        "download_upstream.py --scale small",
        "pairsift select",
    ):
        assert words in problems
    with pytest.raises(PairsiftError, match="cannot run here: .*--dry-run prints the commands"):
        drive(_run(tmp_path), NullListener())


SCRIPT = """
import json, pathlib, shutil, sys
def option(name): return pathlib.Path(sys.argv[sys.argv.index(name) + 1])
log = pathlib.Path({log!r})
log.write_text(log.read_text() + pathlib.Path(sys.argv[0]).name + "\\n")
"""
RESHARDER = """
out = option("--output-dir")
shutil.copy(option("--subset-file"), out / "sample_ids.npy")
(out / "meta.json").write_text("{}")
"""
TRAIN = """
out = option("--output_dir") / str(option("--exp_name"))
out.mkdir(parents=True)
(out / "info.pkl").write_bytes(b"")
"""
EVALUATE = """
entry = {"key": "k", "dataset": "Flickr", "metrics": {"main_metric": 0.25}}
(option("--train_output_dir") / "eval_results.jsonl").write_text(json.dumps(entry) + "\\n")
"""


@pytest.mark.slow
def test_the_steps_run_in_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On scripts that take DataComp's options and leave the files that its own leave.

    What they would do in between needs the pool and GPUs; that they are called rightly does not.
    """
    (tmp_path / "code").mkdir()
    log = tmp_path / "log"
    log.write_text("")
    for name, body in (("resharder", RESHARDER), ("train", TRAIN), ("evaluate", EVALUATE)):
        (tmp_path / "code" / f"{name}.py").write_text(SCRIPT.format(log=str(log)) + body)
    torchrun = tmp_path / "bin" / "torchrun"
    torchrun.parent.mkdir()
    torchrun.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} "$@"\n')
    torchrun.chmod(torchrun.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(torchrun.parent), prepend=":")
    (tmp_path / "data" / "shards").mkdir(parents=True)
    write_tar(tmp_path / "data" / "shards" / "00000000.tar", good_samples(12))
    scores = tmp_path / "scores"
    shards = find_shards([str(tmp_path / "data" / "shards")])
    score_shards(shards, load_scorer("heuristics"), str(scores), workers=0)
    select(str(scores), top=0.5, by="caption_characters", out=str(tmp_path / "selection"))
    run = _run(tmp_path)
    told: list[str] = []
    results = run_steps(run, MessageListener(told.append))
    assert read_results(str(results))[0].scores == {}
    assert log.read_text().split() == ["resharder.py", "train.py", "evaluate.py"]
    assert len(told) == len(steps(run))
    assert len(np.load(tmp_path / "out" / "subset.npy")) == 6
    # Only what finds out by itself what is left to do is called again.
    run_steps(run, MessageListener(told.append))
    assert log.read_text().split() == ["resharder.py", "train.py", "evaluate.py", "evaluate.py"]
    # Another selection must not be taken for the one that was trained on.
    select(str(scores), top=0.25, by="caption_characters", out=str(tmp_path / "selection2"))
    with pytest.raises(PairsiftError, match="samples of another selection"):
        run_steps(
            _run(tmp_path, selection=str(tmp_path / "selection2")), MessageListener(told.append)
        )
    # A command that fails is named.
    (tmp_path / "code" / "evaluate.py").write_text("raise SystemExit(7)")
    with pytest.raises(PairsiftError, match="step evaluate ended with exit code 7"):
        run_steps(run, MessageListener(told.append))
