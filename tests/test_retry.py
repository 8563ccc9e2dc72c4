"""Whether a call is tried again, and when."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from pairsift import retry
from pairsift.retry import Backoff, is_transient, persist

QUICK = Backoff(attempts=4, first=0.0)


def test_delays_double_up_to_the_longest_and_are_spread() -> None:
    backoff = Backoff(attempts=8, first=1.0, longest=10.0)
    drawn = [list(backoff.delays()) for _ in range(200)]
    for most, delays in zip([1, 2, 4, 8, 10, 10, 10], zip(*drawn, strict=True), strict=True):
        assert 0.75 * most <= min(delays) < max(delays) <= most


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (PermissionError(errno.EACCES, "closed"), False),
        (OSError(errno.ENOSPC, "full"), False),
        (OSError(errno.EROFS, "read-only"), False),
        (OSError(errno.EIO, "disk"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError("slow"), True),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    assert is_transient(error) is again
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        persist(fail, QUICK)
    assert len(calls) == (4 if again else 1)


def _failing(times: int) -> Callable[[], str]:
    left = [OSError(errno.EIO, "disk")] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "done"

    return call


def test_success_ends_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    assert persist(_failing(3), Backoff(attempts=4, first=8.0, longest=9.0)) == "done"
    assert len(slept) == 3
    assert max(slept) <= 9
    with pytest.raises(OSError, match="disk"):
        persist(_failing(4), Backoff(attempts=4))
