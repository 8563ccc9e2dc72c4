"""Steps of a stage, and which of its checkpoints counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="needs the extra train")

from pairsift.errors import PairsiftError
from pairsift.train.checkpoints import checkpoint, mark_complete
from pairsift.train.settings import Settings, parse_stages
from pairsift.train.trainer import STATE_FILE, StageFolder, planned_steps


@pytest.mark.parametrize(
    ("items", "epochs", "expected"),
    [(96, "1", 3), (96, "2.5", 8), (97, "1", 4), (1, "1", 1), (96, "0.01", 1), (0, "1", 1)],
)
def test_epochs_become_steps(items: int, epochs: str, expected: int) -> None:
    (stage,) = parse_stages("all", epochs=epochs)
    settings = Settings(data=(), model="m", out="o", stages=(stage,), batch_size=16, accumulate=2)
    assert planned_steps(stage, items, settings) == expected


def test_given_steps_are_taken() -> None:
    (stage,) = parse_stages("all", steps="7")
    settings = Settings(data=(), model="m", out="o", stages=(stage,))
    assert planned_steps(stage, 10_000, settings) == 7


def reach(folder: Path, step: int, complete: bool = True, **state: object) -> None:
    """Write a checkpoint of this step."""
    path = checkpoint(folder, step)
    path.mkdir(parents=True)
    (path / STATE_FILE).write_text(json.dumps({"max_steps": 30, **state}))
    if complete:
        mark_complete(path)


def test_the_last_complete_checkpoint_is_where_a_stage_goes_on(tmp_path: Path) -> None:
    stage = StageFolder(tmp_path)
    assert (stage.reached, stage.finished) == (0, False)
    reach(tmp_path, 10)
    reach(tmp_path, 20)
    reach(tmp_path, 30, complete=False)
    assert (stage.reached, stage.last, stage.finished) == (20, checkpoint(tmp_path, 20), False)
    stage.clean()
    assert not checkpoint(tmp_path, 30).exists()
    reach(tmp_path, 30)
    assert stage.finished


def test_the_best_is_what_was_measured_or_the_last(tmp_path: Path) -> None:
    stage = StageFolder(tmp_path)
    reach(tmp_path, 10)
    assert stage.best() == (checkpoint(tmp_path, 10), None)
    reach(tmp_path, 20, best_global_step=10, best_metric=0.25)
    assert stage.best() == (checkpoint(tmp_path, 10), 0.25)
    reach(tmp_path, 30, best_global_step=15, best_metric=0.25)
    with pytest.raises(PairsiftError, match="checkpoint 15, the best one, is missing"):
        stage.best()
