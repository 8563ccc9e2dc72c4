"""The numbers of a run, in a file and for people."""

from __future__ import annotations

import json
from pathlib import Path

from pairsift.progress import NullListener
from pairsift.train.log import MetricsLog, shown


def test_rows_are_json_lines_and_told(tmp_path: Path) -> None:
    told: list[str] = []

    class Ear(NullListener):
        def message(self, text: str) -> None:
            told.append(text)

    log = MetricsLog(tmp_path / "metrics.jsonl", Ear())
    assert log.rows() == []
    log.training(1, 10, 2000, {"loss": 0.51234, "ranking": 0.0})
    log.measured(1, 10, {"tau_itm": 0.5, "std_itm": 9.0, "mae": None})
    assert log.rows() == [
        {"stage": 1, "step": 10, "loss": 0.51234, "ranking": 0.0},
        {"stage": 1, "step": 10, "dev_tau_itm": 0.5, "dev_std_itm": 9.0, "dev_mae": None},
    ]
    assert told == [
        "stage 1  step 10/2,000  loss 0.5123",
        "stage 1  step 10  dev: tau itm 0.500  mae -",
    ]
    assert shown({"std_itm": 3.0}) == ""


def test_rewinding_forgets_what_came_after_and_lines_cut_by_a_kill(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", NullListener())
    for stage, step in ((1, 10), (1, 20), (2, 5), (2, 10)):
        log.training(stage, step, 20, {"loss": 1.0})
    with log.path.open("a") as file:
        file.write('[1]\n{"stage": 2}\n{"stage": 2, "st')
    assert len(log.rows()) == 4
    log.rewind(2, 5)
    lines = log.path.read_text().splitlines()
    assert [(row["stage"], row["step"]) for row in map(json.loads, lines)] == [
        (1, 10), (1, 20), (2, 5),
    ]  # fmt: skip
