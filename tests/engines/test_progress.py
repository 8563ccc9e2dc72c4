"""What a listener hears of a run, and one of before there was one protocol for all long work."""

from __future__ import annotations

from typing import Any

import pytest

from pairsift.engines.base import ShardResult
from pairsift.engines.progress import RunProgress, run_progress


class Diary:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def message(self, text: str) -> None:
        self.heard.append(text)

    def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
        self.heard.append((task, done, total, more["estimated"]))


def test_the_total_is_the_mean_shard_until_all_are_done() -> None:
    diary = Diary()
    progress = run_progress(diary)
    progress.started(3, 1)
    progress.rows({"ok": 90, "image_missing": 10})
    progress.shard_done(ShardResult("a", "scored", 100, {}, problem="ends early"))
    progress.rows({"ok": 20})
    progress.shard_done(ShardResult("b", "scored", 20, {}))
    assert diary.heard == [
        "1 of 3 shards were finished before",
        ("scoring", 0, None, True),
        ("scoring", 100, None, True),
        "a: ends early",
        ("scoring", 100, 200, True),
        ("scoring", 120, 200, True),
        ("scoring", 120, 120, False),
    ]


def test_a_listener_of_before_hears_what_it_heard() -> None:
    class Old:
        def started(self, shards: int, finished: int) -> None: ...

        def rows(self, statuses: Any) -> None: ...

        def shard_done(self, result: ShardResult) -> None: ...

    old = Old()
    with pytest.warns(DeprecationWarning, match="pairsift.progress.Listener"):
        assert run_progress(old) is old  # type: ignore[comparison-overlap]


def test_nobody_need_listen() -> None:
    RunProgress().started(1, 0)
