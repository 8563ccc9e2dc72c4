"""Opening and listing files, on a local disk or behind any fsspec URL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from pairsift.errors import PairsiftError

_PROTOCOL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*(::|://)")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file or folder as a listing tells it.

    Attributes:
        url: URL or absolute local path.
        size: bytes, if known.
        version: changes when the content does: a store's etag or version, else when it was last
            written; None if the listing does not tell.
    """

    url: str
    size: int | None
    is_folder: bool = False
    version: str | None = None


def is_url(path: str) -> bool:
    """Whether fsspec, rather than the local file system, is asked for it."""
    return bool(_PROTOCOL.match(path)) and not path.startswith(("file://", "local://"))


def normalise(path: str) -> str:
    """Absolute local path, or URL as its file system writes it, without a trailing slash.

    Raises:
        PairsiftError: unknown protocol, or the package that serves it is not installed.
    """
    if is_url(path):
        filesystem, inner = file_system(path)
        url: str = filesystem.unstrip_protocol(inner)
        return url.rstrip("/")
    path = re.sub(r"^(file|local)://", "", path)
    return os.path.abspath(os.path.expanduser(path))


def open_file(url: str) -> IO[bytes]:
    """Open for reading.

    Raises:
        PairsiftError: it is not there, may not be read, or its protocol is unknown.
    """
    try:
        if is_url(url):
            filesystem, path = file_system(url)
            return cast("IO[bytes]", filesystem.open(path, "rb"))
        return open(url, "rb")
    except FileNotFoundError:
        raise PairsiftError(f"{url} does not exist; was it moved since it was listed?") from None
    except IsADirectoryError:
        raise PairsiftError(f"{url} is a folder; a file is needed") from None
    except PermissionError as error:
        raise PairsiftError(f"{url} may not be read: {error.strerror or error}") from None


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it.

    Raises:
        PairsiftError: unknown protocol, or the package that serves it is not installed.
    """
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise PairsiftError(f"cannot open {url}: {error}") from error
    return filesystem, path


def list_folder(url: str) -> list[FileEntry]:
    """Files and folders directly in a folder, from one listing; empty if there is no such folder.

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
        found = filesystem.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if len(found) == 1 and found[0]["name"].rstrip("/") == path.rstrip("/"):
        return []  # some stores list a file as its own content
    return [entry for entry in _remote(filesystem, found) if not _is_hidden(entry.url)]


def walk(url: str) -> Iterator[FileEntry]:
    """Files at any depth below a folder, hidden ones and those in hidden folders left out."""
    url = url.rstrip("/")
    if is_url(url):
        filesystem, path = file_system(url)
        found = filesystem.find(path, detail=True)
        for entry in _remote(filesystem, found.values()):
            if not any(part.startswith(".") for part in entry.url[len(url) + 1 :].split("/")):
                yield entry
        return
    for folder, folders, _ in os.walk(url):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (entry for entry in list_folder(folder) if not entry.is_folder)


def glob(url: str) -> list[FileEntry]:
    """Files and folders that match a pattern of ``*``, ``?``, ``[...]`` and ``**``."""
    if not is_url(url):
        import glob as local_glob

        return [
            FileEntry(path, os.path.getsize(path), os.path.isdir(path))
            for path in local_glob.glob(url, recursive=True)
            if os.path.exists(path)  # not a dangling link
        ]
    filesystem, path = file_system(url)
    return list(_remote(filesystem, filesystem.glob(path, detail=True).values()))


def _local(entry: os.DirEntry[str]) -> FileEntry:
    if entry.is_dir():
        return FileEntry(entry.path, None, True)
    try:
        return FileEntry(entry.path, entry.stat().st_size)
    except OSError:  # a dangling link; opening it will say so
        return FileEntry(entry.path, None)


def _remote(filesystem: Any, found: Any) -> Iterator[FileEntry]:
    for info in found:
        url = filesystem.unstrip_protocol(info["name"]).rstrip("/")
        yield FileEntry(url, info.get("size"), info.get("type") == "directory")


def _is_hidden(url: str) -> bool:
    return url.rsplit("/", 1)[-1].startswith(".")
