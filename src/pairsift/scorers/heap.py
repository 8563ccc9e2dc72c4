"""Memory that the C library keeps after it was freed.

glibc gives freed memory back to the system only from the end of its heaps. A few tensors that are
kept among many that are freed hold all the rest back, so a process that computes on a CPU seems to
grow.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


class HeapTrimmer:
    """Gives freed memory back to the system now and then, with glibc's ``malloc_trim``.

    Args:
        every: after how many pairs; giving back takes some 10 ms, and more to get it again.

    Example:
        >>> trimmer = HeapTrimmer(every=256)
        >>> trimmer.count(32)  # nothing yet
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._since = 0

    def count(self, pairs: int) -> None:
        """Count pairs that were computed, and give memory back when it is time."""
        self._since += pairs
        if self._since >= self.every:
            self._since = 0
            _trim(0)


def _malloc_trim() -> Callable[[int], object]:
    """glibc's function; elsewhere one that does nothing."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return lambda keep: None
    return trim


_trim = _malloc_trim()
