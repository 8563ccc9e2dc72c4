"""A checkpoint counts only once it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.train.checkpoints import (
    checkpoint,
    complete_steps,
    keep_only,
    mark_complete,
    move_into,
    remove_incomplete,
)


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """Complete checkpoints after 5 and 20 steps, a half-written one after 30, another folder."""
    for step in (5, 20, 30):
        (checkpoint(tmp_path, step) / "deep").mkdir(parents=True)
        (checkpoint(tmp_path, step) / "deep" / "weights").write_bytes(b"x" * step)
    mark_complete(checkpoint(tmp_path, 5))
    mark_complete(checkpoint(tmp_path, 20))
    (tmp_path / "checkpoint-best").mkdir()
    return tmp_path


def test_only_marked_ones_count_in_order_of_steps(stage: Path) -> None:
    assert complete_steps(stage) == [5, 20]
    assert complete_steps(stage / "nowhere") == []


def test_what_a_kill_left_is_removed_and_nothing_else(stage: Path) -> None:
    remove_incomplete(stage)
    left = {path.name for path in stage.iterdir()}
    assert left == {"checkpoint-5", "checkpoint-20", "checkpoint-best"}
    remove_incomplete(stage / "nowhere")


def test_all_but_some_are_removed(stage: Path) -> None:
    keep_only(stage, [20])
    assert complete_steps(stage) == [20]
    assert not checkpoint(stage, 5).exists()
    assert checkpoint(stage, 30).exists()


def test_the_file_that_makes_a_folder_loadable_is_moved_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name in ("config.json", "a.bin", "z.bin"):
        (source / name).write_text(name)
    moved: list[str] = []
    replace = __import__("os").replace
    monkeypatch.setattr(
        "os.replace", lambda old, new: (moved.append(Path(new).name), replace(old, new))
    )
    move_into(source, target, "config.json")
    assert moved[-1] == "config.json"
    assert sorted(path.name for path in target.iterdir()) == ["a.bin", "config.json", "z.bin"]
    assert not source.exists()
