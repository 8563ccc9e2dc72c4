"""Read the members of a tar, forwards only, in bounded memory whatever its headers claim.

:mod:`tarfile` parses the headers. This module adds limits: a header may have at most
`MAX_HEADER_BYTES` (tarfile reads a whole pax header, and gzip can compress a gigabyte of one into a
megabyte), skipping ends at the end of the file, a header that leads backwards is refused, and
damage is distinguished from the end of the archive.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import IO, cast

from pairsift.sources.packing import is_damage, open_packed

MAX_HEADER_BYTES = 2**20
_BUFFER_BYTES = 2**16


class DamagedTarError(Exception):
    """The tar cannot be read further; the message says what is wrong and where.

    Attributes:
        position: byte offset in the (decompressed) tar.
        in_member: whether the content of a member is truncated, rather than something between
            members.
    """

    def __init__(self, message: str, position: int, in_member: bool = False) -> None:
        super().__init__(message)
        self.position = position
        self.in_member = in_member


class BehindEndError(DamagedTarError):
    """There is data after the mark that ends the archive; everything before it is complete."""


class Member:
    """A regular file of a tar; it can be read only before the next one is requested.

    Attributes:
        start, end: of its headers and padded content, as byte offsets in the (decompressed) tar.
        check: CRC-32 of the bytes from `start` to `end`, continued from the member that it follows;
            valid once the next member was requested or the tar has ended.
    """

    def __init__(self, name: str, size: int, start: int, end: int, stream: _Stream) -> None:
        self.name = name
        self.size = size
        self.start = start
        self.end = end
        self.check = 0
        self._stream = stream
        self.follow(0)

    def follow(self, check: int) -> None:
        """Continue another member's `check`; call it before reading this one."""
        self._stream.check = zlib.crc32(self._stream.header, check)

    def read(self) -> bytes:
        """Return the whole content; the caller has checked `size`.

        Raises:
            DamagedTarError: the tar ends before the content does.
        """
        data = self._stream.read_data(self.size)
        if len(data) < self.size:
            raise _cut_off(self._stream, self.name)
        return data


def iterate_tar(file: IO[bytes], left_out: Counter[str] | None = None) -> Iterator[Member]:
    """Yield the regular files of a plain or compressed tar; links, folders and devices are left
    out.

    Args:
        left_out: counts what is left out, by kind, except folders.

    Raises:
        BehindEndError: all members were read, and there is data after the end of the archive.
        DamagedTarError: the tar cannot be read further; at position 0 if it is not a tar at all.
        OSError: the storage fails.
        MissingPackageError: decompressing it needs a package that is not installed.
    """
    stream = _Stream(file)
    tar: _Tar | None = None
    while True:
        stream.expect_header()
        start = stream.tell()
        try:
            if tar is None:  # this reads the first header
                tar = _Tar(fileobj=cast("IO[bytes]", stream), tarinfo=_Header, encoding="utf-8")
                if tar.firstmember is None:  # then Python 3.10's next() would seek
                    _refuse_more(stream)
                    return
            header = tar.next()
        except (DamagedTarError, OSError):
            raise
        except _MissingMarkError:
            raise DamagedTarError("ends without an end-of-archive mark", _offset(tar)) from None
        except Exception as error:  # tarfile also raises ValueError, RecursionError and others
            position = _offset(tar)
            words = f"no readable header at byte {position:,}: {error}"
            raise DamagedTarError(words, position) from error
        if header is None:
            _refuse_more(stream)
            return
        # Otherwise tarfile keeps every header and all global pax fields in memory.
        tar.members.clear()
        tar.pax_headers = {}
        begin = stream.tell()
        member = None
        if header.isreg() and not header.issparse():
            if header.size < 0:
                raise DamagedTarError(f"{header.name!r} has size {header.size}", begin)
            member = Member(header.name, header.size, start, tar.offset, stream)
            yield member
        elif left_out is not None and not header.isdir():
            left_out[_what(header)] += 1
        if tar.offset < stream.tell():
            raise DamagedTarError(f"the header of {header.name!r} leads backwards", begin)
        _skip(stream, tar.offset)
        if member is not None:
            member.check = stream.check
        if stream.tell() < tar.offset:
            if stream.tell() < begin + header.size:
                raise _cut_off(stream, header.name)
            raise DamagedTarError("ends without an end-of-archive mark", stream.tell())


def _refuse_more(stream: _Stream) -> None:
    """Read the rest of the file after the end of the archive; it must be zeros."""
    while data := stream.read_data(_BUFFER_BYTES, in_member=False):
        if data.strip(b"\0"):
            raise BehindEndError(
                f"not read: what follows the end of the archive, from byte "
                f"{stream.tell() - len(data.lstrip(bytes(1))):,} on. If archives were joined (cat "
                "a.tar b.tar), unpack them with tar --ignore-zeros and pack them again",
                stream.tell(),
            )


def _what(header: tarfile.TarInfo) -> str:
    if header.issym() or header.islnk():
        return "links"
    return "sparse files" if header.issparse() else "devices and pipes"


def _skip(stream: _Stream, end: int) -> None:
    """Skip to `end`, or to the end of the file."""
    while (left := end - stream.tell()) > 0:
        if not stream.read_data(min(left, _BUFFER_BYTES)):
            return


def _cut_off(stream: _Stream, name: str) -> DamagedTarError:
    position = stream.tell()
    return DamagedTarError(f"cut off at byte {position:,}, inside {name!r}", position, True)


def _offset(tar: tarfile.TarFile | None) -> int:
    return tar.offset if tar else 0


class _Tar(tarfile.TarFile):
    members: list[tarfile.TarInfo]  # public, but missing in typeshed
    firstmember: tarfile.TarInfo | None  # likewise


class _MissingMarkError(Exception):
    pass


class _BadHeaderError(Exception):
    pass


class _Header(tarfile.TarInfo):
    """A header whose damage is an error, where TarFile.next would take it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise _MissingMarkError from None
        except tarfile.HeaderError as error:
            raise _BadHeaderError(str(error)) from None


class _Stream:
    """The file that TarFile reads from; it knows its position and limits the size of headers.

    Attributes:
        header: bytes of the headers read since `expect_header`.
        check: CRC-32 of the bytes read since a member last set it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        buffered = io.BufferedReader(cast("io.RawIOBase", file), _BUFFER_BYTES)
        self._file, self._packing = open_packed(buffered)
        self._position = 0
        self._header_left = 0
        self.header = bytearray()
        self.check = 0

    def expect_header(self) -> None:
        """Allow one header, with its extensions, to be read."""
        self._header_left = MAX_HEADER_BYTES
        self.header.clear()

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        """Read for TarFile, which reads only headers here."""
        self._header_left -= size
        if self._header_left < 0:
            raise DamagedTarError(
                f"a header of more than {MAX_HEADER_BYTES:,} bytes at byte {self._position:,}",
                self._position,
            )
        data = self.read_data(size, in_member=False)
        self.header += data
        return data

    def read_data(self, size: int, in_member: bool = True) -> bytes:
        """Read `size` bytes; fewer only at the end of the file."""
        try:
            data: bytes = self._file.read(size)
        except Exception as error:
            if not is_damage(error):
                raise
            words = f"broken {self._packing} data after byte {self._position:,}: {error}"
            raise DamagedTarError(words, self._position, in_member) from error
        self._position += len(data)
        self.check = zlib.crc32(data, self.check)
        return data
