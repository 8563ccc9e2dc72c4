"""Folders whose files appear whole or not at all, on a local disk or behind any fsspec URL."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pairsift.errors import PairsiftError

# .<final name>.<host>~<pid>~<random>.tmp: the owner is named, so that a run can tell a dead
# run's leftovers from a file that a neighbour on another machine is writing right now.
_TEMPORARY = re.compile(r"^\..+\.(?P<host>[^~]+)~(?P<pid>\d+)~[0-9a-f]+\.tmp$")
_FOREIGN_TEMPORARY_LIFETIME_S = 24 * 3600


def join(folder: str, name: str) -> str:
    """Path or URL of a name in a folder; a local path stays as short as it was given."""
    return f"{folder.rstrip('/')}/{name}"


class Folder:
    """A folder at a local path or an fsspec URL (``s3://``, ``gs://``, ``hf://``, ``memory://``).

    Raises:
        PairsiftError: the URL's protocol is unknown or its package is not installed.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)
        try:
            self.fs, path = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise PairsiftError(f"cannot open {self.url}: {error}") from error
        self.path: str = path.rstrip("/") or "/"
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def file(self, name: str) -> str:
        """Path of a file in this folder, as the file system (not fsspec's URL layer) knows it."""
        return f"{self.path}/{name}"

    def create(self) -> None:
        """Make the folder; object stores need none."""
        try:
            self.fs.makedirs(self.path, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise PairsiftError(
                f"{self.url} is a file; a folder is needed: choose another --out"
            ) from error

    def names(self) -> set[str]:
        """Names of the finished files, from a single listing; hidden ones are left out."""
        if self.is_local:
            try:
                with os.scandir(self.path) as entries:
                    return {entry.name for entry in entries if not entry.name.startswith(".")}
            except FileNotFoundError:
                return set()
        try:
            found = self.fs.ls(self.path, detail=False, refresh=True)
        except FileNotFoundError:
            return set()
        names = (path.rstrip("/").rsplit("/", 1)[-1] for path in found)
        return {name for name in names if not name.startswith(".")}

    def read(self, name: str) -> bytes:
        """Whole content of a file; FileNotFoundError if it is not there."""
        content: bytes = self.fs.cat_file(self.file(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Commit `content` under `name`, replacing what was there."""
        if not self.is_local:
            self.fs.pipe_file(self.file(name), content)  # a single PUT is the commit
            return
        with self.atomic(name) as file:
            file.write(content)

    @contextlib.contextmanager
    def atomic(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing that takes its name only when the block ends without an error.

        Raises:
            PairsiftError: the disk is full; nothing is left behind.
        """
        if not self.is_local:
            with self._atomic_remote(name) as file:
                yield file
            return
        final = self.file(name)
        owner = f"{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex}"
        temporary = self.file(f".{name}.{owner}.tmp")
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, final)
            _sync_directory(self.path)
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PairsiftError(
                    f"no space left while writing {final}; files already finished are safe: "
                    "free some space and run the same command again"
                ) from error
            raise

    @contextlib.contextmanager
    def _atomic_remote(self, name: str) -> Iterator[IO[bytes]]:
        file: Any = self.fs.open(self.file(name), "wb", autocommit=False)
        try:
            yield file
            file.close()
            file.commit()
        except BaseException:
            file.discard()
            raise

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.file(name))

    def remove_leftovers(self) -> int:
        """Delete temporary files of dead runs and return how many there were.

        A file of this host goes when its process is gone; one of another host, whose processes
        cannot be seen from here, when it has not been touched for a day.
        """
        if not self.is_local or not os.path.isdir(self.path):
            return 0
        removed = 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                match = _TEMPORARY.match(entry.name)
                if match and _is_leftover(entry, match["host"], int(match["pid"])):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)
                        removed += 1
        return removed


def _is_leftover(entry: os.DirEntry[str], host: str, pid: int) -> bool:
    if host != socket.gethostname():
        try:
            return time.time() - entry.stat().st_mtime > _FOREIGN_TEMPORARY_LIFETIME_S
        except FileNotFoundError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # A living process that is this very one cannot own a file from before it started one.
    return False


def _sync_directory(path: str) -> None:
    """Make a rename durable; file systems that cannot sync a folder are left to their own ways."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
