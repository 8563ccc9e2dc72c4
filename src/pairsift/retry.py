"""Retry calls to a storage or network that may succeed later."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pairsift.storage_errors import (
    Cause,
    StorageError,
    find_cause,
    is_of_network,
    retry_after,
    status_of,
)

Result = TypeVar("Result")

_PERMANENT_ERRORS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_PERMANENT_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts.

    Attributes:
        attempts: total number, including the first.
        first: seconds before the second attempt; doubled each time, up to `longest`.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0

    def delays(self) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt.

        Up to a quarter is random, so that a thousand workers that the same outage stopped do not
        all retry at the same moment.
        """
        for attempt in range(self.attempts - 1):
            yield min(self.longest, self.first * 2**attempt) * random.uniform(0.75, 1.0)


def is_transient(error: BaseException) -> bool:
    """Return whether the call may succeed later: storage or network failed, not the path."""
    cause = error.cause if isinstance(error, StorageError) else find_cause(error)
    if cause is not Cause.OTHER:
        return cause.passing
    if isinstance(error, _PERMANENT_ERRORS):
        return False
    if isinstance(error, OSError):
        return error.errno not in _PERMANENT_NUMBERS
    return is_of_network(error) and status_of(error) is None


def wait_before_retry(error: BaseException, delay: float, backoff: Backoff) -> float:
    """Return the seconds to wait: what the server asks for, within limits, if that is longer."""
    return max(delay, min(backoff.longest, retry_after(error) or 0.0))


def persist(action: Callable[[], Result], backoff: Backoff) -> Result:
    """Call until it succeeds, fails permanently, or the attempts are used up.

    Raises:
        Exception: the last error of `action`.
    """
    for delay in backoff.delays():
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            delay = wait_before_retry(error, delay, backoff)
        time.sleep(delay)
    return action()
