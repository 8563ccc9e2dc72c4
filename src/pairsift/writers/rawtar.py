"""Samples of a tar as byte ranges, to be copied without decoding.

Copying ten thousand samples through :mod:`tarfile` spends most of its time on ordinary headers.
These are read here at fixed offsets. Anything else (long names, pax records, sparse files) is read
by tarfile, one header at a time.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING

from pairsift.errors import PairsiftError
from pairsift.sources.base import printable
from pairsift.sources.files import is_url, look_up, open_file
from pairsift.sources.member_names import split_member
from pairsift.sources.packing import MissingPackageError, find_packing, is_damage, unpacked

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from pairsift.writers.append import Appender

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
# Fields of a ustar header: name, size in octal, its end, kind, magic, first byte of the prefix.
_HEADER = struct.Struct("100s24x11sc20xc100x5s83xs166x")
_ZEROS = bytes(BLOCK)
_COPY_BYTES = 8 << 20
_NAME_BYTES = 100
_HEADER_BYTES = 4096
_AHEAD_BYTES = 32 << 20


Member = tuple[bytes, int, int, int]
"""A regular file in a tar: name, where its headers start, where its content starts, its size."""


def member_end(member: Member) -> int:
    """Return where the next header starts."""
    _, _, data, size = member
    return data - (-size // BLOCK) * BLOCK


def _text(key: bytes) -> str:
    """Return the key in the form of score tables."""
    return printable(key.decode("utf-8", "surrogateescape"))


class RawTar:
    """A tar on the local disk, or a temporary copy of a remote or compressed one.

    Attributes:
        size: bytes of the file when it was opened; None if its storage does not say.

    Raises:
        PairsiftError: the tar cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._file = open_file(url)
        self._stat = None if is_url(url) else os.fstat(self._file.fileno())
        self.size = self._stat.st_size if self._stat else _listed_size(url)
        self._original = None if self._stat is None else os.dup(self._file.fileno())
        packing = find_packing(self._file.read(6))
        self._file.seek(0)
        if packing is not None or is_url(url):
            self._file = _spooled(self._file, packing, url)
        self._descriptor = self._file.fileno()
        self._members = self._walk()
        self._next: tuple[Member, ...] = ()

    def __enter__(self) -> RawTar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._original is not None:
            os.close(self._original)
            self._original = None

    @property
    def was_written(self) -> bool:
        """Return whether the opened file was modified since (not: replaced)."""
        if self._original is None or self._stat is None:
            return False
        now = os.fstat(self._original)
        return (now.st_size, now.st_mtime_ns) != (self._stat.st_size, self._stat.st_mtime_ns)

    def read(self, start: int, size: int) -> bytes:
        """Return the bytes of a range; fewer if the tar ends."""
        return os.pread(self._descriptor, size, start)

    def copy(self, start: int, end: int, target: Appender, check: int = 0) -> int:
        """Append a range of bytes to `target`; return their CRC-32, continued from `check`.

        Raises:
            PairsiftError: the tar ends before `end`.
        """
        try:
            return target.write_from(self._descriptor, start, end, check)
        except EOFError as error:
            raise PairsiftError(
                f"{self.url} ends in the middle of a sample; was it replaced?"
            ) from error

    def announce(self, start: int, end: int) -> None:
        """Ask the system to read a range ahead, while this process is busy with an earlier one."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, start, end - start, os.POSIX_FADV_WILLNEED)

    def expect_jumps(self) -> None:
        """Ask the system to read ahead only the announced ranges."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def _odd_member(self, place: int) -> tuple[Member | None, int]:
        """Read a member whose header only tarfile understands, and its end."""
        try:
            with tarfile.open(fileobj=_Window(self, place), mode="r:") as tar:
                header = tar.next()
                following = place + tar.offset
        except tarfile.TarError as error:
            raise PairsiftError(
                f"{self.url} is damaged at byte {place:,} ({error}); score it again"
            ) from error
        if header is None:
            raise PairsiftError(f"{self.url} ends in the middle of a header; score it again")
        if not header.isreg() or header.issparse():
            return None, following
        data = place + header.offset_data
        name = header.name.encode("utf-8", "surrogateescape")
        return (name, place, data, header.size), following

    def seek(self, place: int) -> None:
        """Let `find` continue at a position where a member starts."""
        self._members, self._next = self._walk(place), ()

    def starts_sample(self, place: int, key: str) -> bool:
        """Return whether an ordinary header at the position starts a sample of that key."""
        name = self.read(place, _NAME_BYTES).rstrip(b"\0")
        stem = key.encode("utf-8", "surrogateescape") + b"."
        return name.startswith(stem) and b"/" not in name[len(stem) :]

    def find(self, key: str, unique: frozenset[bytes]) -> list[Member] | None:
        """Return the members of the next sample of that key; None if there is none.

        A sample is a sequence of members that have the same key.

        Args:
            unique: suffixes in lower case that a sample has only once; a second one begins a new
                sample.

        Raises:
            PairsiftError: a header is damaged.
        """
        stem = key.encode("utf-8", "surrogateescape") + b"."
        escaped = "\\x" in key  # the form of score tables for a name that is not UTF-8
        run: list[Member] = []
        seen: set[bytes] = set()
        members, self._next = itertools.chain(self._next, self._members), ()
        for member in members:
            name = member[0]
            if escaped and (parts := split_member(name)) and _text(parts[0]) == key:
                stem = parts[0] + b"."
            if not name.startswith(stem) or b"/" in name[len(stem) :]:
                if run and split_member(name):
                    break
                continue
            suffix = name[len(stem) :].lower()
            if suffix in seen and suffix in unique:
                break
            seen.add(suffix)
            run.append(member)
        else:
            return run or None
        self._next = (member,)  # this member begins the next sample
        return run

    def _walk(self, place: int = 0) -> Iterator[Member]:
        """Yield regular files from a position to the end-of-archive mark or the end of the file."""
        ahead = begin = place
        window = b""
        unpack = _HEADER.unpack_from
        # A tar of DataComp has 30,000 headers, so this loop decides how long writing a subset
        # takes.
        while True:
            at = place - begin
            if at + BLOCK > len(window):
                if place >= ahead:
                    self.announce(place, place + _AHEAD_BYTES)
                    ahead = place + _AHEAD_BYTES // 2
                # One read gets a header, a small member, and the next header.
                window, begin, at = self.read(place, _HEADER_BYTES), place, 0
                if len(window) < BLOCK:
                    return
            name, digits, end, kind, magic, prefix = unpack(window, at)
            if (
                (kind == b"0" or kind == b"\0")
                and magic == b"ustar"
                and prefix == b"\0"
                and (end == b"\0" or end == b" ")
                and digits.isdigit()
            ):
                size = int(digits, 8)
                yield name.rstrip(b"\0"), place, place + BLOCK, size
                place += BLOCK - (-size // BLOCK) * BLOCK
            elif not window[at] and window[at : at + BLOCK] == _ZEROS:
                return
            else:
                odd, place = self._odd_member(place)
                if odd is not None:
                    yield odd


def _listed_size(url: str) -> int | None:
    entry = look_up(url)
    return None if entry is None else entry.size


def _spooled(file: IO[bytes], packing: str | None, url: str) -> IO[bytes]:
    """Return a local copy that can be read at any position, made in one transfer."""
    spool = tempfile.TemporaryFile(prefix="pairsift-tar-")  # noqa: SIM115 - the caller closes it
    with file:
        try:
            if packing is None:
                shutil.copyfileobj(file, spool, _COPY_BYTES)
            else:  # in the pieces in which it is unpacked, so that damage loses none before it
                source = unpacked(file, packing)
                while piece := source.read1(_COPY_BYTES):
                    spool.write(piece)
        except Exception as error:
            if packing is not None and is_damage(error):
                # Samples before the damage were scored; if a kept one is missing, `find` reports
                # it.
                return spool
            spool.close()
            if not isinstance(error, OSError | MissingPackageError):
                raise
            raise PairsiftError(f"{url} cannot be read: {error}; run the command again") from error
    return spool


class _Window(io.RawIOBase):
    """A tar from one of its members on, as a file for tarfile."""

    def __init__(self, tar: RawTar, start: int) -> None:
        self._tar = tar
        self._start = start
        self._place = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        self._place = offset
        return offset

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        content = self._tar.read(self._start + self._place, len(target))
        target[: len(content)] = content
        self._place += len(content)
        return len(content)
