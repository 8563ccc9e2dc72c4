"""Checkpoints that count only once they are complete.

The Trainer writes a checkpoint file by file. A marker file is written last, after everything else
is on the disk, and is removed first when a checkpoint is deleted. A folder without the marker was
left by a killed run, and nothing is read from it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

_MARKER = "COMPLETE"
_NAME = re.compile(r"^checkpoint-(\d+)$")


def checkpoint(stage: Path, step: int) -> Path:
    """Return the folder of the checkpoint after a step, as the Trainer names it."""
    return stage / f"checkpoint-{step}"


def mark_complete(folder: Path) -> None:
    """Flush every file of a checkpoint to the disk, then write its marker."""
    for file in folder.rglob("*"):
        if file.is_file():
            _flush(file)
    (folder / _MARKER).touch()
    _flush(folder)


def complete_steps(stage: Path) -> list[int]:
    """Return the steps with a complete checkpoint, in ascending order."""
    if not stage.is_dir():
        return []
    steps = ((_NAME.match(entry.name), entry) for entry in stage.iterdir())
    return sorted(int(m[1]) for m, entry in steps if m and (entry / _MARKER).exists())


def remove_incomplete(stage: Path) -> None:
    """Remove checkpoints that a killed run only half wrote or half deleted."""
    if not stage.is_dir():
        return
    for entry in stage.iterdir():
        if _NAME.match(entry.name) and not (entry / _MARKER).exists():
            shutil.rmtree(entry)


def keep_only(stage: Path, steps: Iterable[int]) -> None:
    """Remove all checkpoints except those of some steps."""
    kept = set(steps)
    for step in complete_steps(stage):
        if step not in kept:
            folder = checkpoint(stage, step)
            (folder / _MARKER).unlink()
            shutil.rmtree(folder)


def move_into(source: Path, target: Path, last: str) -> None:
    """Move a folder's files into another one; the file that makes it loadable is moved last."""
    for file in source.iterdir():
        _flush(file)
    for file in sorted(source.iterdir(), key=lambda file: file.name == last):
        os.replace(file, target / file.name)
    _flush(target)
    source.rmdir()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
