"""Trackers that show the numbers of a run while it goes on: TensorBoard, wandb, trackio.

The record is ``metrics.jsonl``; a tracker gets the same numbers. A resumed run continues in the
same TensorBoard folders (what a killed run logged after its last checkpoint is purged) and in the
same run of wandb or trackio.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pairsift.errors import PairsiftError
from pairsift.metrics import split_names

TRACKERS: Mapping[str, str] = {
    "tensorboard": "pip install 'pairsift[tensorboard]'",
    "wandb": "pip install wandb",
    "trackio": "pip install trackio",
}
"""The trackers, and how each is installed; each is also the name of its package."""

TENSORBOARD_FOLDER, _RUN_NAME = "tensorboard", "run-name"
_PROJECT = "pairsift"


class Tracker(Protocol):
    """Shows numbers by stage and step."""

    def log(self, stage: int, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers of one step of a stage; steps begin at 0 in each stage."""

    def close(self) -> None:
        """Send what is left."""


def check_trackers(names: str | None) -> list[str]:
    """Return the trackers of a list, separated by commas.

    Raises:
        PairsiftError: one is unknown, or its package is not installed.
    """
    chosen = list(dict.fromkeys(split_names(names))) if names else []
    for name in chosen:
        if name not in TRACKERS:
            raise PairsiftError(f"--log {name!r}: choose from {', '.join(TRACKERS)}")
    for name in chosen:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise PairsiftError(
                f"--log {name} needs a package that is missing ({error}): {TRACKERS[name]}"
            ) from None
    return chosen


@contextlib.contextmanager
def open_trackers(
    names: Sequence[str], work: Path, title: str, facts: Mapping[str, Any]
) -> Iterator[list[Tracker]]:
    """Open trackers; they are closed when the block ends, however it ends.

    Args:
        names: of :data:`TRACKERS`.
        work: the run's own folder.
        title: beginning of the run's name.
        facts: what decides the result of the run, to be shown beside it.

    Raises:
        PairsiftError: a tracker cannot start.
    """
    with contextlib.ExitStack() as stack:
        found: list[Tracker] = []
        for name in names:
            tracker: Tracker
            if name == "tensorboard":
                tracker = _TensorBoard(work / TENSORBOARD_FOLDER)
            else:
                tracker = _Run(name, work, title, facts)
            stack.callback(tracker.close)
            found.append(tracker)
        yield found


class _TensorBoard:
    """Event files in a folder for each stage, which TensorBoard shows as runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[int, Any] = {}

    def log(self, stage: int, step: int, numbers: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if stage not in self._writers:
            folder = str(self._folder / f"stage-{stage}")
            self._writers[stage] = SummaryWriter(folder, purge_step=step)
        writer = self._writers[stage]
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class _Run:
    """A run of wandb, or of trackio, which has the same functions.

    Steps begin at 0 in each stage, so each stage's step is a number of its own.
    """

    def __init__(self, package: str, work: Path, title: str, facts: Mapping[str, Any]) -> None:
        module = importlib.import_module(package)
        run = _run_name(work, title)
        own = {"dir": str(work), "id": run} if package == "wandb" else {}
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
                self._run = module.init(
                    project=_PROJECT, name=run, config=dict(facts), resume="allow", **own
                )
        except Exception as error:  # not logged in, no network, a full disk: each has its own class
            raise PairsiftError(
                f"{package} cannot start: {str(error).strip().splitlines()[0]}; "
                f"train without --log {package}, or see its documentation"
            ) from error

    def log(self, stage: int, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({f"stage-{stage}/{name}": v for name, v in {"step": step, **numbers}.items()})

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()


def _run_name(work: Path, title: str) -> str:
    """Return the name of the run, the same when it is resumed."""
    file = work / _RUN_NAME
    if not file.is_file():
        file.write_text(f"{title}-{uuid.uuid4().hex[:8]}\n", "utf-8")
    return file.read_text("utf-8").strip()
