"""DataComp's commands for a selection, and its results in our table."""

from __future__ import annotations

import csv
import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from pairsift.cli import main
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
    DATASETS,
    GROUPS,
    PUBLISHED,
    read_jsonl,
    read_results,
    table,
)
from pairsift.progress import MessageListener, NullListener
from pairsift.scorers.registry import load_scorer
from pairsift.select import select
from pairsift.sources import find_shards
from tests.samples import good_samples, write_tar

REFERENCE = (
    Path(__file__).parents[4]
    / "shared/data/reference_results/openclip_38_dataset_zero_shot_results.csv"
)


def _lines(shares: dict[str, float]) -> str:
    """As `evaluate.py` writes them: all metrics of a task, and the one that counts."""
    return "".join(
        json.dumps(
            {
                "key": name.lower(),
                "dataset": name,
                "metrics": {"acc1": share, "acc5": 0.9, "main_metric": share},
            }
        )
        + "\n"
        for name, share in shares.items()
    )


def test_there_are_38_data_sets() -> None:
    assert len(DATASETS) == 38
    assert sum(map(len, GROUPS.values())) == 23


def test_results_are_grouped_and_averaged(tmp_path: Path) -> None:
    shares = {name: n / 100 for n, name in enumerate(sorted(DATASETS))}
    folder = tmp_path / "my_filter"
    folder.mkdir()
    fairness = {"key": "fairness/fairface", "dataset": "FairFace", "metrics": {"main_metric": None}}
    text = _lines({"ImageNet 1k": 0.9} | shares) + json.dumps(fairness) + "\n"
    (folder / "eval_results.jsonl").write_text(text)
    (row,) = read_results(str(folder / "eval_results.jsonl"))
    assert row.name == "my_filter"
    assert row.missing == ()
    assert row.scores["average"] == pytest.approx(100 * sum(shares.values()) / 38)
    # The later of two lines counts.
    assert row.scores["ImageNet"] == pytest.approx(100 * shares["ImageNet 1k"])
    trio = [shares[name] for name in ("Flickr", "MSCOCO", "WinoGAViL")]
    assert row.scores["retrieval"] == pytest.approx(100 * sum(trio) / 3)


def test_an_unfinished_evaluation_has_no_average(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(_lines({"ImageNet 1k": 0.3, "Flickr": 0.2}))
    (row,) = read_results(str(tmp_path / "r.jsonl"), "half")
    assert row.scores == {"ImageNet": pytest.approx(30)}
    assert len(row.missing) == 36


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json\n", "line 1: expected a result of DataComp's evaluate.py"),
        ('{"dataset": "Flickr"}\n', "line 1: expected a result"),
        (_lines({"Flickr": 31.5}), "31.5 is not a number between 0 and 1"),
        (_lines({"My own set": 0.5}), "'My own set' is not one of DataComp's"),
        ("\n", "holds no result"),
    ],
)
def test_other_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(PairsiftError, match=words):
        read_jsonl(str(tmp_path / "r.jsonl"))


@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"needs {REFERENCE}")
def test_our_average_is_the_published_one() -> None:
    """Of every model in open_clip's table."""
    with open(REFERENCE, newline="") as file:
        published = [float(row["Average perf. on 38 datasets"]) for row in csv.DictReader(file)]
    rows = read_results(str(REFERENCE))
    assert len(rows) == len(published) > 100
    ours = [row.scores["average"] / 100 for row in rows]
    np.testing.assert_allclose(ours, published, atol=6e-5)  # they print four digits


def test_published_rows_stand_beside_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = dict.fromkeys(DATASETS, 0.5)
    (tmp_path / "eval_results.jsonl").write_text(_lines(shares))
    arguments = f"--out {tmp_path}/out --results {tmp_path}/eval_results.jsonl"
    command = f"pairsift evaluate downstream --datacomp medium {arguments}"
    monkeypatch.setattr(sys, "argv", command.split())
    main()
    shown = capsys.readouterr().out
    assert "MLM-Filter GPT-4V ITM AND ODF" in shown
    written = (tmp_path / "out" / "datacomp.md").read_text()
    assert f"| {tmp_path.name} | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | this run |" in written
    assert "| CLIPScore | 27.3 | 23.0 | 33.8 | 25.1 | 32.8 |" in written
    _, rows = table([], "medium")
    assert len(rows) == len(PUBLISHED["medium"])


def _run(tmp_path: Path, **given: object) -> DatacompRun:
    places = {name: str(tmp_path / name) for name in ("selection", "data", "code", "out")}
    return DatacompRun(scale="small", **(places | given))  # type: ignore[arg-type]


def test_a_dry_run_prints_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "evaluate downstream --datacomp medium --selection sel --dry-run --data /data/medium"
    options = "--datacomp-code /code --evalsets /sets --gpus 4 --accumulate 2"
    command = ["pairsift", *words.split(), *options.split(), "--out", "/runs/a b"]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert capsys.readouterr().out.splitlines() == [
        f"pairsift write {tmp_path}/sel --datacomp '/runs/a b/subset.npy'",
        "mkdir -p '/runs/a b/shards'",
        "(cd /code && python resharder.py --input-dir /data/medium/shards "
        "--output-dir '/runs/a b/shards' --subset-file '/runs/a b/subset.npy' --overwrite)",
        "(cd /code && torchrun --nproc_per_node 4 train.py --scale medium "
        "--data_dir '/runs/a b/shards' --output_dir '/runs/a b/training' --exp_name pairsift "
        "--seed 0 --accum_freq 2)",
        "(cd /code && python evaluate.py --track filtering "
        "--train_output_dir '/runs/a b/training/pairsift' --data_dir /sets)",
    ]
    assert not (tmp_path / "sel").exists()


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
