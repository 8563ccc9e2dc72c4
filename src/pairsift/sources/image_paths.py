"""Images that the rows of a table name by path: they lie below the table's folder, or below the
folder of ``--image-root``, and nowhere else.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Status
from pairsift.retry import is_transient, persist
from pairsift.sources import files
from pairsift.sources.base import printable
from pairsift.storage_errors import Cause, StorageError

# Files of a remote storage that are read at once, because each is mostly waiting.
AHEAD = 16
_SHOWN = 200
_DOWNLOADS = ("http://", "https://", "ftp://")

Row = TypeVar("Row")
Found = TypeVar("Found")


class ImagePaths:
    """Reads images by path.

    Args:
        folder: the table's folder, where relative paths begin.
        root: the folder or URL that the user named; relative paths begin there instead.
        limit: larger files, in bytes, are not read.
    """

    def __init__(self, folder: str, root: str | None, limit: int) -> None:
        self.base = (root or folder).rstrip("/")
        self.limit = limit

    @property
    def remote(self) -> bool:
        """Whether the images are in a storage that is not a local disk."""
        return files.is_url(self.base)

    def read(self, path: str) -> bytes | Fault:
        """Return the bytes of an image, or why there are none."""
        place = self.place(path)
        if isinstance(place, Fault):
            return place
        return read_file(place, self.limit, Status.IMAGE_MISSING, Status.IMAGE_TOO_LARGE)

    def place(self, path: str) -> str | Fault:
        """Return where a path leads, as an absolute path or URL."""
        if not path:
            return Fault(Status.IMAGE_MISSING, "the row names no image")
        plain = self._spelled(path)
        below = plain.startswith(f"{self.base}/")
        absolute = plain.startswith("/") or files.is_url(plain)
        if leaves_folder(plain) or (absolute and not below):
            return outside(path, self.base)
        return plain if below else f"{self.base}/{plain}"

    def relative(self, path: str) -> str:
        """Return a path as it is below the folder."""
        return self._spelled(path).removeprefix(f"{self.base}/")

    def _spelled(self, path: str) -> str:
        """Return a path or URL as the folder is spelled.

        Only URLs of the folder's own storage are looked at: making another one may connect to it.
        """
        scheme, mark, _ = self.base.partition("://")
        if mark and path.startswith(scheme + mark):
            return files.normalise(path)
        return path.removeprefix("file://")


def outside(path: str, base: str) -> Fault:
    """Return the fault of a row whose path leads out of the folder `base`."""
    if path.startswith(_DOWNLOADS):
        words = (
            "is a URL, and images are not downloaded: download them first (img2dataset does), or "
            "name the column with the path of the file with --image-field"
        )
    else:
        words = (
            f"is outside {printable(base) or '/'}; give the folder below which all images are "
            "with --image-root"
        )
    return Fault(Status.IMAGE_MISSING, f"{shown(path)} {words}")


def leaves_folder(path: str) -> bool:
    """Return whether a path may lead out of the folder where it begins."""
    return ".." in path.replace("\\", "/").split("/") or "\0" in path


def shown(path: str) -> str:
    """Return a path of a table as an error shows it."""
    return printable(repr(path[:_SHOWN])) + ("..." if len(path) > _SHOWN else "")


def read_file(url: str, limit: int, missing: Status, too_large: Status) -> bytes | Fault:
    """Read a small file whole.

    Args:
        limit: a larger file, in bytes, is a fault with the status `too_large`.
        missing: status if there is no such file.

    Raises:
        OSError, StorageError: the storage failed, and the file may be read later.
    """
    if not files.is_url(url) and (not os.path.exists(url) or os.path.isdir(url)):
        return Fault(missing, f"no file {shown(url)}")

    def read() -> bytes:
        with files.open_file(url) as file:
            return file.read(limit + 1)

    try:
        data = persist(read, files.BACKOFF) if files.is_url(url) else read()
    except PairsiftError as error:
        if isinstance(error, StorageError):
            if error.cause.everywhere or is_transient(error):
                raise
            if error.cause is not Cause.MISSING:
                return Fault(Status.READ_ERROR, printable(str(error)))
        return Fault(missing, printable(str(error)))
    return Fault(too_large, f"more than {limit:,} bytes, the limit") if len(data) > limit else data


def in_order(
    rows: Iterable[Row], read: Callable[[Row], Found], ahead: int
) -> Iterator[tuple[Row, Found]]:
    """Yield each row with what `read` returns for it, in order.

    Args:
        ahead: rows that are read at once, in threads; 0 reads one after the other.
    """
    if not ahead:
        for row in rows:
            yield row, read(row)
        return
    waiting: deque[tuple[Row, Future[Found]]] = deque()
    with ThreadPoolExecutor(ahead, "pairsift-images") as pool:
        try:
            for row in rows:
                waiting.append((row, pool.submit(read, row)))
                if len(waiting) > ahead:
                    first, found = waiting.popleft()
                    yield first, found.result()
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()
        finally:
            for _, found in waiting:
                found.cancel()
