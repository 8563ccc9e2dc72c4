"""Open and list files, on a local disk or behind any fsspec URL."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from stat import S_ISDIR, S_ISREG
from typing import IO, Any, TypeVar, cast

from pairsift.errors import PairsiftError
from pairsift.retry import Backoff, persist
from pairsift.sources.left_out import HIDDEN, LINKED_FOLDERS, LeftOut
from pairsift.storage_errors import Cause, find_cause, is_of_network, storage_error, with_reason

# Attempts to list; few, because the user waits for the first line of output.
BACKOFF = Backoff(attempts=3)
Result = TypeVar("Result")

_PROTOCOL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*(::|://)")

# What storages call the value that changes with a file's content, the most reliable first.
_VERSIONS = (
    "ETag", "etag", "generation", "md5Hash", "VersionId", "version_id", "blob_id", "content_md5",
    "LastModified", "last_modified", "updated", "mtime", "created",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file or folder as listed.

    Attributes:
        url: URL or absolute local path.
        size: bytes, if known.
        version: changes when the content does: a storage's etag or version, else the time of the
            last write; None if the listing does not say.
        is_special: whether it is a pipe, device or socket, which is never opened.
    """

    url: str
    size: int | None
    is_folder: bool = False
    version: str | None = None
    is_special: bool = False


def is_url(path: str) -> bool:
    """Return whether fsspec handles it, rather than the local file system."""
    return bool(_PROTOCOL.match(path)) and not path.startswith(("file://", "local://"))


def normalise(path: str) -> str:
    """Return an absolute local path, or a URL in its file system's spelling, without a trailing
    slash.

    Raises:
        PairsiftError: the protocol is unknown, or the package for it is not installed.
    """
    if is_url(path):
        filesystem, inner = file_system(path)
        url: str = filesystem.unstrip_protocol(inner)
        return url.rstrip("/")
    path = re.sub(r"^(file|local)://", "", path)
    return os.path.abspath(os.path.expanduser(path))


def open_file(url: str) -> IO[bytes]:
    """Open a file for reading.

    Raises:
        PairsiftError: it does not exist, is not a file, is not readable, or its protocol is
            unknown. For a URL it is a StorageError that says whether a retry may succeed.
    """
    if is_url(url):
        filesystem, path = file_system(url)
        try:
            return cast("IO[bytes]", filesystem.open(path, "rb"))
        except Exception as error:
            told = with_reason(error, lambda: filesystem.cat_file(path, start=0, end=1))
            raise storage_error(told, url, "read") from told
    try:
        refuse_special(url)  # opening a pipe would wait for a writer
        return open(url, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise PairsiftError(
            f"{url} does not exist; check the path, or whether it was moved or deleted meanwhile"
        ) from None
    except IsADirectoryError:
        raise PairsiftError(f"{url} is a folder, but a file is expected") from None
    except PermissionError as error:
        raise PairsiftError(f"{url} cannot be read: {error.strerror or error}") from None


def refuse_special(path: str) -> None:
    """Refuse pipes, devices and sockets.

    Raises:
        PairsiftError: the local path is one of them.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:  # opening the file will report the error
        return
    if _is_special(mode):
        raise PairsiftError(
            f"{path} is a pipe, device or socket, but a file is expected; save its content to a "
            "file"
        )


def _is_special(mode: int) -> bool:
    return not (S_ISREG(mode) or S_ISDIR(mode))


def ask(url: str, action: Callable[[], Result]) -> Result:
    """Look up a file or folder; retry if the storage fails temporarily.

    Raises:
        FileNotFoundError: nothing is there.
        NotADirectoryError: a file is there, but a folder was asked for.
        StorageError: the storage does not answer.
    """
    try:
        return persist(action, BACKOFF)
    except NotADirectoryError:
        raise
    except Exception as error:
        if find_cause(error) is Cause.MISSING:
            raise FileNotFoundError(url) from error
        if not isinstance(error, OSError) and not is_of_network(error):
            raise
        raise storage_error(error, url, "list") from error


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        PairsiftError: the protocol is unknown, or the package for it is not installed.
    """
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise PairsiftError(f"cannot open {url}: {error}") from error
    return filesystem, path


def list_folder(url: str) -> list[FileEntry]:
    """List files and folders directly in a folder, with one request; empty if there is no such
    folder.

    Hidden names are left out.
    """
    if not is_url(url):
        try:
            with os.scandir(url) as entries:
                return [_local(entry) for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
    filesystem, path = file_system(url)
    try:
        found = ask(url, lambda: filesystem.ls(path, detail=True))
    except (FileNotFoundError, NotADirectoryError):
        return []
    if len(found) == 1 and found[0]["name"].rstrip("/") == path.rstrip("/"):
        return []  # some storages list a file as its own content
    return [entry for entry in _remote(filesystem, found) if not _is_hidden(entry.url)]


def walk(url: str, left_out: LeftOut | None = None) -> Iterator[FileEntry]:
    """List files at any depth below a folder; hidden names and links to folders are left out.

    Args:
        left_out: counts what is left out.
    """
    url = url.rstrip("/")
    left_out = LeftOut() if left_out is None else left_out
    if is_url(url):
        filesystem, path = file_system(url)
        found = ask(url, lambda: filesystem.find(path, detail=True))
        for entry in _remote(filesystem, found.values()):
            if any(part.startswith(".") for part in entry.url[len(url) + 1 :].split("/")):
                left_out.add(entry.url, HIDDEN)
            else:
                yield entry
        return
    for folder, folders, names in os.walk(url):
        for name in filter(_is_hidden, [*folders, *names]):
            left_out.add(os.path.join(folder, name), HIDDEN)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in folders:  # links are not followed, because they may form a loop
            if os.path.islink(os.path.join(folder, name)):
                left_out.add(os.path.join(folder, name), LINKED_FOLDERS)
        yield from (entry for entry in list_folder(folder) if not entry.is_folder)


def glob(url: str) -> list[FileEntry]:
    """List files and folders that match a pattern of ``*``, ``?``, ``[...]`` and ``**``."""
    if not is_url(url):
        import glob as local_glob

        return [
            local_entry(path)
            for path in local_glob.glob(url, recursive=True)
            if os.path.exists(path)  # not a dangling link
        ]
    filesystem, path = file_system(url)
    try:
        found = ask(url, lambda: filesystem.glob(path, detail=True))
    except FileNotFoundError:
        return []
    return list(_remote(filesystem, found.values()))


def look_up(url: str) -> FileEntry | None:
    """Look up what is at a path now; None if nothing is there or the storage does not say.

    Raises:
        StorageError: the storage fails.
    """
    if not is_url(url):
        return local_entry(url) if os.path.exists(url) else None
    filesystem, path = file_system(url)
    with contextlib.suppress(Exception):  # not all file systems have a cache
        filesystem.invalidate_cache(path.rpartition("/")[0])
    try:
        return remote_entry(url, filesystem.info(path))
    except Exception as error:
        if find_cause(error) is Cause.MISSING:
            return None
        told = with_reason(error, lambda: filesystem.cat_file(path, start=0, end=1))
        raise storage_error(told, url, "read") from told


def local_entry(path: str) -> FileEntry:
    """Make the entry of an existing local file or folder."""
    stat = os.stat(path)
    if S_ISDIR(stat.st_mode):
        return FileEntry(path, None, True)
    return _local_file(path, stat)


def _local_file(path: str, stat: os.stat_result) -> FileEntry:
    special = _is_special(stat.st_mode)
    return FileEntry(path, stat.st_size, version=local_version(stat), is_special=special)


def local_version(stat: os.stat_result) -> str:
    """Return when a local file was last written, in nanoseconds: the `version` of its entry."""
    return f"mtime {stat.st_mtime_ns}"


def remote_entry(url: str, info: Mapping[str, Any]) -> FileEntry:
    """Make an entry from fsspec's description of a file or folder."""
    is_folder = info.get("type") == "directory"
    version = None if is_folder else _remote_version(info)
    return FileEntry(url, info.get("size"), is_folder, version)


def _remote_version(info: Mapping[str, Any]) -> str | None:
    for name in _VERSIONS:
        value = info.get(name)
        if value is not None and value != "":
            return f"{name} {value}".replace('"', "")
    return None


def _local(entry: os.DirEntry[str]) -> FileEntry:
    try:
        if entry.is_dir():
            return FileEntry(entry.path, None, True)
        stat = entry.stat()
    except OSError:  # a link to nothing or to itself; opening it will report the error
        return FileEntry(entry.path, None)
    return _local_file(entry.path, stat)


def _remote(filesystem: Any, found: Any) -> Iterator[FileEntry]:
    for info in found:
        yield remote_entry(filesystem.unstrip_protocol(info["name"]).rstrip("/"), info)


def _is_hidden(url: str) -> bool:
    return url.rsplit("/", 1)[-1].startswith(".")
