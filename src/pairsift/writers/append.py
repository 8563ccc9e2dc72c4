"""Append gigabytes to a new file through one buffer, without the page cache where possible.

A subset is written once and not read back soon. The page cache would need a new page and a second
copy for every byte, and would evict pages that are still needed. With ``O_DIRECT`` (open(2), Linux)
the disk reads from the buffer, while other threads fill theirs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import mmap
import os
import zlib
from typing import IO

_BUFFER_BYTES = 4 << 20
# Offsets and lengths are multiples of this, which every disk accepts for direct writes.
ALIGNMENT = 4096
_DIRECT: int = getattr(os, "O_DIRECT", 0)


class Appender:
    """Appends to a file that was just opened for writing and is still empty.

    The caller still owns the file: at the end of the block the last bytes are written, but the file
    is neither synced nor closed. After an error nothing more is written.

    Args:
        file: a local file, or any object with ``write``.

    Attributes:
        direct: whether the file is written past the page cache.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._descriptor = _descriptor(file)
        self.direct = self._descriptor is not None and _set_direct(self._descriptor, True)
        self._view = memoryview(mmap.mmap(-1, _BUFFER_BYTES))  # an anonymous map starts on a page
        self._filled = 0
        self._handed_over = 0

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._hand_over()

    def tell(self) -> int:
        """Return the bytes appended so far."""
        return self._handed_over + self._filled

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes."""
        rest = memoryview(content)
        while rest:
            count = min(len(rest), _BUFFER_BYTES - self._filled)
            self._view[self._filled : self._filled + count] = rest[:count]
            self._advance(count)
            rest = rest[count:]

    def write_from(self, descriptor: int, start: int, end: int, check: int = 0) -> int:
        """Append a range of another file's bytes.

        Returns:
            the CRC-32 of these bytes, continued from `check`.

        Raises:
            EOFError: that file ends before `end`.
        """
        while start < end:
            count = min(end - start, _BUFFER_BYTES - self._filled)
            place = self._view[self._filled : self._filled + count]
            count = os.preadv(descriptor, [place], start)
            if not count:
                raise EOFError
            check = zlib.crc32(place[:count], check)
            self._advance(count)
            start += count
        return check

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._filled == _BUFFER_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        rest = self._view[: self._filled]
        if self._descriptor is None:
            self._file.write(rest)
        else:
            self._write(self._descriptor, rest)
        self._handed_over += self._filled
        self._filled = 0

    def _write(self, descriptor: int, rest: memoryview) -> None:
        while rest:
            if self.direct and len(rest) >= ALIGNMENT:
                whole = rest[: len(rest) // ALIGNMENT * ALIGNMENT]
            else:  # the rest of the file may have any length
                self._stop_direct(descriptor)
                whole = rest
            try:
                count = os.write(descriptor, whole)
            except OSError as error:
                # This disk has other rules for direct writes; the page cache has none.
                if not self.direct or error.errno != errno.EINVAL:
                    raise
                count = 0
            if not count or count % ALIGNMENT:
                self._stop_direct(descriptor)
            rest = rest[count:]

    def _stop_direct(self, descriptor: int) -> None:
        if self.direct:
            _set_direct(descriptor, False)
            self.direct = False


def _descriptor(file: IO[bytes]) -> int | None:
    with contextlib.suppress(io.UnsupportedOperation, AttributeError):
        return file.fileno()
    return None


def _set_direct(descriptor: int, direct: bool) -> bool:
    """Switch writing without the page cache on or off; return whether it is on."""
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        flags = flags | _DIRECT if direct else flags & ~_DIRECT
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    except OSError:  # the file system does not support it
        return False
    return direct and bool(_DIRECT)
