"""Folders whose files are written whole or not at all, on a local disk or behind any fsspec URL."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pairsift.errors import PairsiftError
from pairsift.retry import Backoff, is_transient, persist
from pairsift.storage_errors import (
    Cause,
    StorageError,
    find_cause,
    is_of_network,
    storage_error,
    with_reason,
)

# .<final name>.<kernel>~<random>.tmp, locked while it is written. The kernel releases the lock when
# the process ends, so a file that can be locked was left by a dead run, and one that cannot is
# being written by another run. Other machines may not see locks, so their files are judged by age.
_TEMPORARY = re.compile(r"^\..+\.(?P<kernel>[^~]+)~[0-9a-f]+\.tmp$")
_FOREIGN_TEMPORARY_LIFETIME_S = 6 * 3600

# Few large writes are cheaper for a file system than many small ones.
_BUFFER_BYTES = 4 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)

_NOT_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)

BACKOFF = Backoff()
Result = TypeVar("Result")


def join(folder: str, name: str) -> str:
    """Return the path or URL of a name in a folder; a local path is not made absolute."""
    return f"{folder.rstrip('/')}/{name}"


def split(path: str) -> tuple[str, str]:
    """Return folder and name of a file's path or URL, in a form that :class:`Folder` accepts.

    A name alone is in the current folder, ``/x`` in the root, ``memory://x`` in the storage's root.
    """
    folder, slash, name = path.rpartition("/")
    if not slash:
        return ".", name
    return (f"{folder}/" if not folder or folder.endswith("/") else folder), name


def hold(path: str | os.PathLike[str]) -> IO[bytes] | None:
    """Lock a local file, created if needed, until it is closed or this process ends.

    Returns:
        the open file; None if another process (or another call in this one) holds the lock. On file
        systems without locks, nobody is kept out.
    """
    file = open(path, "ab")  # noqa: SIM115 - the caller closes it
    if _lock(file.fileno()) is False:
        file.close()
        return None
    return file


class OutputKind(NamedTuple):
    """What an existing file must be, so that an output may replace it.

    Attributes:
        name: the kind for messages, with its article.
        matches: returns whether an open file is of this kind; a file that it cannot read (OSError,
            ValueError) is not.
    """

    name: str
    matches: Callable[[IO[bytes]], bool]


def output_file(path: str | os.PathLike[str], kind: OutputKind | None = None) -> tuple[Folder, str]:
    """Split the path or URL of an output file into its folder and its name.

    Call it before the work begins, so that an output that cannot be written is reported at once.

    Args:
        kind: kind of the output, so that no other file is replaced; None to replace any file.

    Raises:
        PairsiftError: the path is a folder, or something else that this file must not replace;
            see :meth:`Folder.check_output`.
    """
    target = os.fspath(path)
    parent, name = split(target)
    if not name:
        raise PairsiftError(
            f"{target or 'an empty name'} is not a file name; give a name for the output"
        )
    folder = Folder(parent)
    folder.check_output(name, kind)
    return folder, name


class Folder:
    """A folder at a local path or an fsspec URL (``s3://``, ``gs://``, ``hf://``, ``memory://``).

    Behind a URL, temporary failures are retried (see :mod:`pairsift.retry`).

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
        """Return the path of a file in this folder, in the file system's form."""
        return f"{self.path}/{name}"

    def create(self) -> None:
        """Create the folder; object storages need none."""
        try:
            self._persist("create", lambda: self.fs.makedirs(self.path, exist_ok=True))
        except (FileExistsError, NotADirectoryError) as error:
            raise PairsiftError(
                f"{self.url} is a file, but a folder is expected; choose another name for it"
            ) from error

    @contextlib.contextmanager
    def created(self) -> Iterator[None]:
        """Create the folder for the block; if that fails, a local one that is empty is removed."""
        was_there = not self.is_local or os.path.isdir(self.path)
        self.create()
        try:
            yield
        except BaseException:
            if not was_there:
                with contextlib.suppress(OSError):
                    os.rmdir(self.path)  # removes only an empty folder
            raise

    def names(self) -> set[str]:
        """List the names of finished files with one request; hidden ones are left out."""
        if not self.is_local:
            return set(self._remote_times())
        try:
            with os.scandir(self.path) as entries:
                return {entry.name for entry in entries if not entry.name.startswith(".")}
        except FileNotFoundError:
            return set()
        except NotADirectoryError as error:
            raise PairsiftError(
                f"{self.url} is a file, but a folder is expected; choose another name for it"
            ) from error

    def names_below(self) -> list[str]:
        """List the paths of all finished files below this folder, sorted."""
        self.fs.invalidate_cache(self.path)
        found = self._persist("list", lambda: self.fs.find(self.path))
        names = (path.removeprefix(f"{self.path}/") for path in sorted(found))
        return [name for name in names if not name.rpartition("/")[2].startswith(".")]

    def times(self) -> dict[str, float]:
        """List names like :meth:`names`, with the time when each was finished, in seconds since
        1970.

        NaN if the listing does not say. On a local disk this reads the attributes of every file.
        """
        if not self.is_local:
            return self._remote_times()
        times = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        with contextlib.suppress(FileNotFoundError):
                            times[entry.name] = entry.stat().st_mtime
        except FileNotFoundError:
            return {}
        return times

    def _remote_times(self) -> dict[str, float]:
        return {name: _modified(entry) for name, entry in self._remote_entries().items()}

    def _remote_entries(self) -> dict[str, dict[str, Any]]:
        try:
            found = self._persist("list", lambda: self.fs.ls(self.path, detail=True, refresh=True))
        except FileNotFoundError:
            return {}
        entries = {}
        for entry in found:
            name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
            if not name.startswith("."):
                entries[name] = entry
        return entries

    def exists(self, name: str) -> bool:
        """Return whether a file exists now, whatever an earlier listing said."""
        if self.is_local:
            return os.path.exists(self.file(name))
        self.fs.invalidate_cache(self.path)
        found: bool = self._persist("look up", lambda: self.fs.exists(self.file(name)), name)
        return found

    def read(self, name: str) -> bytes:
        """Return the whole content of a file; FileNotFoundError if it does not exist."""
        content: bytes = self._persist("read", lambda: self.fs.cat_file(self.file(name)), name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Commit `content` under `name`; an existing file is replaced."""
        if not self.is_local:
            # A single PUT is the commit; for a large file in parts, the last request is.
            try:
                self._persist("write", lambda: self.fs.pipe_file(self.file(name), content), name)
            except FileNotFoundError as error:  # the root of a storage, where buckets are
                raise PairsiftError(f"cannot write {join(self.url, name)}: {error}") from error
            return
        with self.atomic(name) as file:
            file.write(content)

    def check_output(self, name: str, kind: OutputKind | None = None) -> None:
        """Check that a file may be written under a name: nothing or a regular file is there.

        A link counts as its target: a link to a file stays, and the file is replaced. Behind a URL
            nothing
        is checked.

        Args:
            kind: what an existing file must be, unless it is empty; None for any.

        Raises:
            PairsiftError: a folder, device, FIFO or socket has that name, or a file of another
                kind.
        """
        if not self.is_local:
            return
        path = self.file(name)
        try:
            there = os.stat(path)
        except OSError:  # it does not exist, or cannot be reached, which opening it will report
            return
        mode = there.st_mode
        if not stat.S_ISREG(mode):
            what = next((word for is_kind, word in _NOT_FILES if is_kind(mode)), "not a file")
            raise PairsiftError(
                f"{path} is {what}, which is never overwritten; choose another name for the output"
            )
        if kind is not None and there.st_size and not _matches(path, kind):
            raise PairsiftError(
                f"{path} exists and is not {kind.name}; choose another name for the output, "
                "or remove that file"
            )

    def write_new(self, name: str, content: bytes) -> bool:
        """Commit `content` under `name` unless the file exists; return whether it was new.

        On a local disk, and on storages that support it (fsspec's mode ``create``, as S3 does),
        exactly one of two writers succeeds. On other storages the last one does: read the file back
        to see.
        """
        if self.is_local:
            return self._write_new_local(name, content)
        if self.exists(name):
            return False
        try:
            self._persist(
                "write",
                lambda: self.fs.pipe_file(self.file(name), content, mode="create"),
                name,
            )
        except FileExistsError:
            return False
        except (
            TypeError,
            NotImplementedError,
            ValueError,
        ):  # this storage does not support the mode
            self.write(name, content)
        return True

    def _write_new_local(self, name: str, content: bytes) -> bool:
        temporary, file = _open_temporary(self.file(name))
        try:
            with file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.link(temporary, self.file(name))  # unlike a rename, a link replaces nothing
            _sync_directory(self.path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.exists(self.file(name)):
                return False
            self.write(name, content)
        finally:
            os.unlink(temporary)
        return True

    def stamps(self) -> dict[str, str]:
        """List names like :meth:`names`, each with a value that changes when the file does."""
        if self.is_local:
            stamps = {}
            with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        with contextlib.suppress(FileNotFoundError):
                            found = entry.stat()
                            stamps[entry.name] = f"{found.st_size} {found.st_mtime_ns}"
            return stamps
        return {
            name: f"{entry.get('size')} {entry.get('ETag') or entry.get('etag')} {_modified(entry)}"
            for name, entry in self._remote_entries().items()
        }

    def _persist(self, verb: str, action: Callable[[], Result], name: str = "") -> Result:
        if self.is_local:
            return action()
        try:
            return persist(action, BACKOFF)
        except Exception as error:
            cause = find_cause(error)
            if cause is Cause.MISSING or not (
                cause is not Cause.OTHER or is_of_network(error) or is_transient(error)
            ):
                raise
            raise self._failed(verb, name, error) from error

    def _failed(self, verb: str, name: str, error: Exception) -> StorageError:
        where = join(self.url, name) if name else self.url
        if name:
            error = with_reason(error, lambda: self.fs.cat_file(self.file(name), start=0, end=1))
        found = storage_error(error, where, verb)
        if not (found.cause.passing or found.cause is Cause.OTHER):
            return found
        return StorageError(
            f"{found}. Finished files are kept: run the same command again to continue", found.cause
        )

    @contextlib.contextmanager
    def atomic(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing that gets its name only when the block ends without an error.

        Raises:
            PairsiftError: the disk is full, and nothing is left behind; or something that is not a
                file has that name.
        """
        if not self.is_local:
            with self._atomic_remote(name) as file:
                yield file
            return
        self.check_output(name)
        final = self.file(name)
        if os.path.islink(final):
            final = os.path.realpath(final)
        temporary = ""
        try:
            temporary, file = _open_temporary(final)
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, final)  # still locked, so that nobody takes it for a leftover
            _sync_directory(os.path.dirname(final))
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                raise PairsiftError(
                    f"no space left while writing {final}; files already finished are safe: "
                    "free some space and run the same command again"
                ) from error
            raise

    @contextlib.contextmanager
    def _atomic_remote(self, name: str) -> Iterator[IO[bytes]]:
        """Upload the file in parts as it grows; the request that joins them is the commit."""
        file: Any = self._persist(
            "write", lambda: self.fs.open(self.file(name), "wb", autocommit=False), name
        )
        try:
            yield file
            try:
                file.close()
                file.commit()
            except Exception as error:
                raise self._failed("write", name, error) from error
        except BaseException:
            # Not close(), which would send the rest; parts that were sent must be deleted.
            with contextlib.suppress(AttributeError):  # a file in memory sends nothing
                file.closed = True
            with contextlib.suppress(Exception):
                file.discard()
            raise

    def remove(self, name: str) -> None:
        """Delete a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._persist("delete", lambda: self.fs.rm_file(self.file(name)), name)

    def remove_leftovers(self) -> int:
        """Delete temporary files of dead runs and return their number.

        Files of this machine are deleted as soon as their run is dead; those of other machines when
        they were not modified for some hours.
        """
        if not self.is_local or not os.path.isdir(self.path):
            return 0
        removed = 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                match = _TEMPORARY.match(entry.name)
                if match and _remove_if_dead(entry.path, match["kernel"]):
                    removed += 1
        return removed


def _matches(path: str, kind: OutputKind) -> bool:
    try:
        with open(path, "rb") as file:
            return kind.matches(file)
    except (OSError, ValueError):
        return False


def _open_temporary(final: str) -> tuple[str, IO[bytes]]:
    """Open a locked file beside the one that it will become."""
    folder, name = os.path.split(final)
    while True:
        path = f"{folder}/.{name}.{_kernel()}~{uuid.uuid4().hex}.tmp"
        file = open(path, "wb", _BUFFER_BYTES)  # noqa: SIM115 - the caller closes it
        if _lock(file.fileno()) is not False and os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # another run took it for a leftover before it was locked


def _modified(entry: dict[str, Any]) -> float:
    """Return when a listed file was last written; storages have different names for it."""
    for field in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value = entry.get(field)
        if value is None:
            continue
        if isinstance(value, (int, float)):
            return float(value)
        if hasattr(value, "timestamp"):
            return float(value.timestamp())
    return float("nan")


@functools.cache
def _kernel() -> str:
    """Return an id of this machine since its last start, the same in all its containers."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return re.sub(r"[~/]", "-", socket.gethostname())


def _lock(descriptor: int) -> bool | None:
    """Try to lock a file; False if another process holds the lock, None if there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_if_dead(path: str, kernel: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # finished, or removed by another run, in the meantime
        return False
    try:
        dead = _lock(descriptor) if kernel == _kernel() else None
        if dead is None:
            age = time.time() - os.fstat(descriptor).st_mtime
            dead = age > _FOREIGN_TEMPORARY_LIFETIME_S
        if dead:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return dead
    finally:
        os.close(descriptor)


def _sync_directory(path: str) -> None:
    """Make a rename durable, on file systems that can sync a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
