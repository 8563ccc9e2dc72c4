"""What a listener is told of a run; also a listener with the methods of version 0.1."""

from __future__ import annotations

from typing import Any

import pytest

from pairsift.engines.base import ShardResult
from pairsift.engines.progress import RunProgress, run_progress
from tests.support.listeners import Recorder


def test_the_total_is_the_mean_shard_until_all_are_done() -> None:
    recorder = Recorder()
    progress = run_progress(recorder)
    progress.started(3, 1)
    progress.rows({"ok": 90, "image_missing": 10})
    progress.shard_done(ShardResult("a", "scored", 100, {}, problem="ends early"))
    progress.rows({"ok": 20})
    progress.shard_done(ShardResult("b", "scored", 20, {}))
    heard = [
        each if isinstance(each, str) else (*each[:3], each[3]["estimated"])
        for each in recorder.heard
    ]
    assert heard == [
        "1 of 3 shards were finished before",
        ("scoring", 0, None, True),
        ("scoring", 100, None, True),
        "a: ends early",
        ("scoring", 100, 200, True),
        ("scoring", 120, 200, True),
        ("scoring", 120, 120, False),
    ]


def test_a_listener_with_the_methods_of_0_1_is_used_with_a_warning() -> None:
    class Old:
        def started(self, shards: int, finished: int) -> None: ...

        def rows(self, statuses: Any) -> None: ...

        def shard_done(self, result: ShardResult) -> None: ...

    old = Old()
    with pytest.warns(DeprecationWarning, match="pairsift.progress.Listener"):
        assert run_progress(old) is old  # type: ignore[comparison-overlap]


def test_a_listener_is_optional() -> None:
    RunProgress().started(1, 0)
