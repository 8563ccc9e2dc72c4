"""Samples of a tar as byte ranges, to be copied without being looked into.

Copying ten thousand samples through :mod:`tarfile` spends most of its time on headers that hold
nothing new. Ordinary headers are read here at fixed places, and anything else (long names, pax
records, sparse files) goes to tarfile, one header at a time.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING

from pairsift.errors import PairsiftError
from pairsift.sources.base import printable
from pairsift.sources.files import is_url, open_file

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
_REGULAR = frozenset(b"0\0")
_NO_DATA = frozenset(b"123456")
_ZEROS = bytes(BLOCK)
_COPY_BYTES = 8 << 20
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: its headers start at `start`, its content is data..data+size."""

    name: str
    start: int
    data: int
    size: int

    @property
    def end(self) -> int:
        """Where the next header starts."""
        return self.data + -(-self.size // BLOCK) * BLOCK


@dataclass(frozen=True, slots=True)
class Sample:
    """Neighbouring members of one key."""

    key: str
    members: tuple[Member, ...]


def sample_key(name: str) -> str | None:
    """webdataset's key: the path up to the first dot of its last part; None without extension."""
    folder, slash, base = name.rpartition("/")
    stem, dot, _ = base.partition(".")
    return f"{folder}{slash}{stem}" if dot and stem else None


class RawTar:
    """A tar on the local disk, or a temporary copy of one that is not, or that is gzipped.

    Raises:
        PairsiftError: it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._file = open_file(url)
        gzipped = self._file.read(2) == _GZIP_MAGIC
        self._file.seek(0)
        if gzipped or is_url(url):
            self._file = _spooled(self._file, gzipped, url)
        self._descriptor = self._file.fileno()

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

    def read(self, start: int, size: int) -> bytes:
        """Bytes at a place; fewer where the tar ends."""
        return os.pread(self._descriptor, size, start)

    def copy(self, start: int, end: int, target: IO[bytes]) -> None:
        """Append a range of bytes to `target`.

        Raises:
            PairsiftError: the tar ends before `end`.
        """
        while start < end:
            content = self.read(start, min(_COPY_BYTES, end - start))
            if not content:
                raise PairsiftError(f"{self.url} ends in the middle of a sample; was it replaced?")
            target.write(content)
            start += len(content)

    def members(self) -> Iterator[Member]:
        """Regular files, up to the end-of-archive mark or the end of the file."""
        place = 0
        while True:
            header = self.read(place, BLOCK)
            if len(header) < BLOCK or header == _ZEROS:
                return
            size = _plain_size(header)
            if size is None:
                member, place = self._odd_member(place)
                if member is not None:
                    yield member
                continue
            kind = header[156]
            if kind in _REGULAR:
                member = Member(_name(header), place, place + BLOCK, size)
                yield member
                place = member.end
            else:
                place += BLOCK

    def _odd_member(self, place: int) -> tuple[Member | None, int]:
        """A member with a header that only tarfile reads, and where the next one starts."""
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
        return Member(header.name, place, data, header.size), following

    def samples(self, unique: frozenset[str]) -> Iterator[Sample]:
        """Runs of members that share a key, in order.

        Args:
            unique: suffixes in lower case that a sample has once; a second one begins a sample.
        """
        key: str | None = None
        run: list[Member] = []
        seen: set[str] = set()
        for member in self.members():
            this = sample_key(member.name)
            if this is None:
                continue
            suffix = member.name[len(this) + 1 :].lower()
            if run and (this != key or (suffix in seen and suffix in unique)):
                yield Sample(printable(key or ""), tuple(run))
                run, seen = [], set()
            key = this
            seen.add(suffix)
            run.append(member)
        if run:
            yield Sample(printable(key or ""), tuple(run))


def _spooled(file: IO[bytes], gzipped: bool, url: str) -> IO[bytes]:
    """A copy that can be read anywhere: one transfer, in place of many small requests."""
    spool = tempfile.TemporaryFile(prefix="pairsift-tar-")  # noqa: SIM115 - the caller closes it
    with file:
        try:
            source = gzip.GzipFile(fileobj=file) if gzipped else file
            shutil.copyfileobj(source, spool, _COPY_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            pass  # what could be unpacked was scored; a kept sample that is not there is missed
        except OSError as error:
            spool.close()
            raise PairsiftError(f"{url} cannot be read: {error}; run the command again") from error
    return spool


class _Window(io.RawIOBase):
    """A tar from one of its members on, as the file that tarfile wants."""

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


def _plain_size(header: bytes) -> int | None:
    """Bytes of content if this is an ordinary ustar header, else None."""
    if header[257:262] != b"ustar" or not (header[156] in _REGULAR or header[156] in _NO_DATA):
        return None
    try:
        return int(header[124:136].rstrip(b"\0 ") or b"0", 8)
    except ValueError:  # sizes above 8 GiB are in base 256
        return None


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0]
    if prefix:
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")
