"""`evaluate downstream` as typed: DataComp's commands, results and mistakes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pairsift.cli import app, main
from pairsift.errors import PairsiftError


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either --images with --captions"),
        (["--images", "a", "--pool", "b"], "give either --images with --captions"),
        (["--images", "a"], "needs their --captions"),
        (["--pool", "a"], "nothing to test on"),
        (["--pool", "a", "--classification", "b", "--keep", "30"], "fractions above 0"),
        (["--pool", "a", "--classification", "b", "--keep", "x"], "--keep 'x'"),
        (["--pool", "a", "--retrieval-images", "b"], "need --captions that describe them"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["pairsift", "evaluate", "downstream", "--out", str(tmp_path), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert words in re.sub(r"\s+", " ", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--datacomp", "tiny"], "--datacomp 'tiny': choose from small, medium, large, xlarge"),
        (["--datacomp", "small"], "--datacomp needs --selection"),
        (["--datacomp", "small", "--selection", "s"], "--datacomp needs --data"),
        (["--results", "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_datacomp_needs_is_asked_for(arguments: list[str], words: str, tmp_path: Path) -> None:
    command = ["evaluate", "downstream", "--out", str(tmp_path / "out"), *arguments]
    found = CliRunner().invoke(app, command)
    assert isinstance(found.exception, PairsiftError)
    assert words in str(found.exception)
    assert not (tmp_path / "out").exists()


def test_results_are_a_table_or_json_and_files(tmp_path: Path) -> None:
    line = {"key": "k", "dataset": "ImageNet 1k", "metrics": {"main_metric": 0.25}}
    (tmp_path / "mine").mkdir()
    results = tmp_path / "mine" / "eval_results.jsonl"
    results.write_text(json.dumps(line) + "\n")
    command = ["evaluate", "downstream", "--out", str(tmp_path / "out"), "--results", str(results)]
    printed = CliRunner().invoke(app, command).stdout
    assert "mine: 37 of 38 data sets have no result yet" in printed
    assert printed.splitlines()[-1] == f"Written to {tmp_path}/out: datacomp.md, datacomp.json"
    content = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert content == json.loads((tmp_path / "out" / "datacomp.json").read_text())
    assert content["measured"][0]["scores"] == {"ImageNet": 25.0}
    assert (content["scale"], content["published"]) == (None, [])
