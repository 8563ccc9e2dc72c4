"""Killed and run again, training ends where an undisturbed run ends, and repeats no step."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scorers.mlm.checkpoints import save_checkpoint
from tests.train.toy import write_toy
from tests.train.worker import start

pytest.importorskip("accelerate")
pytest.importorskip("scipy")

STEPS = {1: 6, 2: 40}  # by stage
EVERY = 10


def _command(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        *("train", str(folder / "toy")),
        *("--model", str(folder / "base"), "--out", str(out), "--prompts", "compact"),
        *("--stages", "projector,all", "--steps", "6,40", "--learning-rate", "3e-3"),
        *("--batch-size", "4", "--accumulate", "2", "--dev-fraction", "0.25"),
        *("--save-every", str(EVERY), "--log-every", "1", "--keep-checkpoints", *more),
    ]


def _run(command: list[str], folder: Path) -> str:
    output = folder / "output.txt"
    process = start(command, output)
    process.join()
    assert process.exitcode == 0, output.read_text()
    return output.read_text()


def _kill_when(command: list[str], ready: Callable[[], bool], folder: Path) -> None:
    process = start(command, folder / "output.txt")
    deadline = time.monotonic() + 180
    while not ready():
        assert time.monotonic() < deadline
        assert process.is_alive(), (folder / "output.txt").read_text()
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _rows(out: Path) -> list[dict[str, Any]]:
    file = out / "training" / "metrics.jsonl"
    lines = file.read_text().split("\n") if file.exists() else []
    return [json.loads(line) for line in lines[:-1]]


def _without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds_a_step"} for row in rows]


def _reached(out: Path, stage: int, step: int) -> Callable[[], bool]:
    return lambda: any((r["stage"], r["step"]) >= (stage, step) for r in _rows(out))


def _check_same(out: Path, undisturbed: Path, weights: str) -> None:
    assert _without_times(_rows(out)) == _without_times(_rows(undisturbed))
    trained = [(r["stage"], r["step"]) for r in _rows(out) if "loss" in r]
    assert trained == [(s, step + 1) for s, steps in STEPS.items() for step in range(steps)]
    assert (out / weights).read_bytes() == (undisturbed / weights).read_bytes()
    results = [json.loads((f / "training" / "result.json").read_text()) for f in (out, undisturbed)]
    for result in results:
        del result["seconds"], result["out"]
    assert results[0] == results[1]


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    write_toy(tmp_path / "toy", 16)
    save_checkpoint(tmp_path / "base", "llava")
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    _run(_command(tmp_path, undisturbed), tmp_path)
    command = _command(tmp_path, out)
    stage = out / "training" / "stages" / "2-all"

    _kill_when(command, _reached(out, 1, 3), tmp_path)  # nothing is saved yet: the run begins anew
    _kill_when(command, _reached(out, 2, 14), tmp_path)  # between two checkpoints
    assert (stage / "checkpoint-10" / "COMPLETE").exists()
    beyond = [r for r in _rows(out) if (r["stage"], r["step"]) > (2, 10)]
    assert beyond  # steps that are trained again, and logged once
    # What a kill in the middle of writing leaves behind: files, but not all of them.
    shutil.copytree(stage / "checkpoint-10", stage / "checkpoint-20", dirs_exist_ok=True)
    (stage / "checkpoint-20" / "COMPLETE").unlink()
    weights = stage / "checkpoint-20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    # And in the middle of writing the next one, if it can be caught there.
    half = stage / "checkpoint-30"
    _kill_when(command, lambda: half.exists() and not (half / "COMPLETE").exists(), tmp_path)
    # Then while the result is written: its config.json comes last, so nothing half of it loads.
    _kill_when(command, (out / "training" / "export").exists, tmp_path)
    assert not (out / "config.json").exists() or (out / "model.safetensors").exists()
    said = _run(command, tmp_path)
    assert "stage 1-projector: already finished" in said
    assert "stage 2-all: already finished" in said
    assert "loss" not in said
    assert not (out / "training" / "export").exists()
    _check_same(out, undisturbed, "model.safetensors")


@pytest.mark.slow
def test_a_kill_changes_nothing_for_adapters_with_dropout(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    write_toy(tmp_path / "toy", 16)
    save_checkpoint(tmp_path / "base", "llava")
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    more = ("--lora", "4", "--lora-dropout", "0.1")
    _run(_command(tmp_path, undisturbed, *more), tmp_path)
    command = _command(tmp_path, out, *more)
    _kill_when(command, _reached(out, 2, 24), tmp_path)
    said = _run(command, tmp_path)
    went_on = next(step for step in (10, 20, 30) if f"resuming after step {step}\n" in said)
    again = [line for line in said.splitlines() if "/40  loss" in line]
    assert len(again) == 40 - went_on  # no step before the last whole checkpoint
    _check_same(out, undisturbed, "adapter_model.safetensors")
