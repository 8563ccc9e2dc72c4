"""The log of a run: JSON lines for programs, lines of text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairsift.progress import Listener
from pairsift.storage import Folder
from pairsift.train.trackers import Tracker

Number = int | float | None


class MetricsLog:
    """`metrics.jsonl`: one object per line, with `stage` (number), `step` and the measured
    numbers.

    Args:
        trackers: get the same numbers.
    """

    def __init__(self, path: Path, listener: Listener, trackers: Sequence[Tracker] = ()) -> None:
        self.path = path
        self.listener = listener
        self.trackers = trackers

    def rewind(self, stage: int, step: int) -> None:
        """Remove everything after a step: what a killed run logged after its last checkpoint."""
        kept = [row for row in self.rows() if (row["stage"], row["step"]) <= (stage, step)]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        Folder(self.path.parent).write(self.path.name, text.encode())

    def rows(self) -> list[dict[str, Any]]:
        """All complete lines."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text("utf-8").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # truncated when the process was killed
            if isinstance(row, dict) and {"stage", "step"} <= row.keys():
                rows.append(row)
        return rows

    def training(self, stage: int, step: int, steps: int, numbers: Mapping[str, Number]) -> None:
        """Log the loss and other numbers of training."""
        self._add(stage, step, numbers)
        text = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items() if value)
        self.listener.message(f"stage {stage}  step {step:,}/{steps:,}  {text}")

    def measured(self, stage: int, step: int, numbers: Mapping[str, Number]) -> None:
        """Log the agreement on the dev pairs."""
        self._add(stage, step, {f"dev_{name}": value for name, value in numbers.items()})
        self.listener.message(f"stage {stage}  step {step:,}  dev: {shown(numbers)}")

    def _add(self, stage: int, step: int, numbers: Mapping[str, Number]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "step": step, **numbers}) + "\n")
        known = {name: float(value) for name, value in numbers.items() if value is not None}
        for tracker in self.trackers:
            tracker.log(stage, step, known)


def shown(numbers: Mapping[str, Number]) -> str:
    """Format dev agreement for people; standard deviations are only in the file."""
    return "  ".join(
        f"{name.replace('_', ' ')} {'-' if value is None else format(value, '.3f')}"
        for name, value in numbers.items()
        if not name.startswith("std_")
    )
