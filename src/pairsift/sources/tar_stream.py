"""Members of a tar, forwards only, in bounded memory whatever its headers claim.

:mod:`tarfile` does the parsing. Around it: headers may not be larger than `MAX_HEADER_BYTES`
(tarfile reads a pax header whole, and gzip packs a gigabyte of one into a megabyte), skipping
ends where the file does, a header that leads backwards is refused, and damage is told apart from
the end of the archive.
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
    """The tar cannot be read on from here; ``str()`` says what is wrong and where.

    Attributes:
        position: byte of the (unpacked) tar.
        in_member: the content of a member is cut, rather than something between members.
    """

    def __init__(self, message: str, position: int, in_member: bool = False) -> None:
        super().__init__(message)
        self.position = position
        self.in_member = in_member


class BehindEndError(DamagedTarError):
    """Something follows the mark that ends the archive; what comes before is whole."""


class Member:
    """A regular file of a tar, to be read, or not, before the next one is asked for.

    Attributes:
        start, end: of its headers and padded content, in bytes of the (unpacked) tar.
        check: CRC-32 of the bytes from `start` to `end`, behind those of the member it follows;
            holds once the next member was asked for, or the tar has ended.
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
        """Count on from another member's `check`; before anything of this one is read."""
        self._stream.check = zlib.crc32(self._stream.header, check)

    def read(self) -> bytes:
        """The whole content; the caller has looked at `size`.

        Raises:
            DamagedTarError: the tar ends before the content does.
        """
        data = self._stream.read_data(self.size)
        if len(data) < self.size:
            raise _cut_off(self._stream, self.name)
        return data


def iterate_tar(file: IO[bytes], left_out: Counter[str] | None = None) -> Iterator[Member]:
    """Yield the regular files of a tar, plain or packed; links, folders and devices are left out.

    Args:
        left_out: counts these, folders not among them, by what they are.

    Raises:
        BehindEndError: all members were read, and something else follows the end of the archive.
        DamagedTarError: it cannot be read on; at position 0 if it is no tar at all.
        OSError: the storage fails.
        PairsiftError: unpacking it needs a package that is not installed.
    """
    stream = _Stream(file)
    tar: _Tar | None = None
    while True:
        stream.expect_header()
        start = stream.tell()
        try:
            if tar is None:  # this reads the first header
                tar = _Tar(fileobj=cast("IO[bytes]", stream), tarinfo=_Header, encoding="utf-8")
            header = tar.next()
        except (DamagedTarError, OSError):
            raise
        except _MissingMarkError:
            raise DamagedTarError("ends without an end-of-archive mark", _offset(tar)) from None
        except Exception as error:  # tarfile lets ValueError, RecursionError and more slip out
            position = _offset(tar)
            words = f"no readable header at byte {position:,}: {error}"
            raise DamagedTarError(words, position) from error
        if header is None:
            _refuse_more(stream)
            return
        # tarfile would remember every header it has seen, and all global pax fields.
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
    """Read what is left of the file behind the end of the archive: zeros, if all is well."""
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
    """Read on to `end`, or to the end of the file."""
    while (left := end - stream.tell()) > 0:
        if not stream.read_data(min(left, _BUFFER_BYTES)):
            return


def _cut_off(stream: _Stream, name: str) -> DamagedTarError:
    position = stream.tell()
    return DamagedTarError(f"cut off at byte {position:,}, inside {name!r}", position, True)


def _offset(tar: tarfile.TarFile | None) -> int:
    return tar.offset if tar else 0


class _Tar(tarfile.TarFile):
    members: list[tarfile.TarInfo]  # public, but typeshed has it not


class _MissingMarkError(Exception):
    pass


class _BadHeaderError(Exception):
    pass


class _Header(tarfile.TarInfo):
    """A header whose damage is not silently taken for the end, as TarFile.next would."""

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
    """What TarFile reads from: knows its place, and does not hand out absurd headers.

    Attributes:
        header: bytes of the headers read since `expect_header`.
        check: CRC-32 of what was read since a member last set it.
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
        """For TarFile, which reads nothing but headers here."""
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
        """Read `size` bytes, fewer only at the end of the file."""
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
