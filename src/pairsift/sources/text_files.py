"""Text files: compressed or not, in any encoding, with lines of any length."""

from __future__ import annotations

import codecs
import io
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from pairsift.errors import PairsiftError
from pairsift.sources import files
from pairsift.sources.packing import MissingPackageError, is_damage, open_packed
from pairsift.sources.rows import MAX_LINE_CHARACTERS, Lost

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_START_BYTES = 4096
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, because its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def table_extension(url: str) -> str:
    """Return the extension that names the format, without that of a compression; lower case."""
    name = url.rsplit("/", 1)[-1].lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return f".{name.rpartition('.')[2]}" if "." in name else ""


def open_unpacked(url: str) -> io.BufferedReader:
    """Open a file's bytes, decompressed if its first bytes say that it is compressed.

    Raises:
        PairsiftError: it cannot be opened, or the package that decompresses it is not installed.
    """
    packed = _buffered(files.open_file(files.normalise(url)))
    try:
        file, _ = open_packed(packed)
    except MissingPackageError as error:
        packed.close()
        raise PairsiftError(f"{url} {error}") from error
    return _buffered(file)


def _buffered(file: Any) -> io.BufferedReader:
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)


def start_of(file: io.BufferedReader, url: str) -> bytes:
    """Return the first bytes of an open file, up to 4,096; they are read again afterwards.

    Raises:
        PairsiftError: its compression is damaged from the beginning.
    """
    try:
        return file.peek(_START_BYTES)[:_START_BYTES]
    except Exception as error:
        if not is_damage(error):
            raise
        raise PairsiftError(
            f"{url} cannot be decompressed ({error}); download it again, or decompress it"
        ) from error


def encoding_of(start: bytes, given: str | None, url: str) -> str:
    marked = next((name for mark, name in _BOMS if start.startswith(mark)), None)
    if given is not None:
        plain = codecs.lookup(given).name
        if marked is None:
            return _without_mark(start, plain, url)
        if marked.removesuffix("-sig") not in plain and plain not in marked:
            raise PairsiftError(
                f"{url} begins with the byte order mark of {marked.removesuffix('-sig')}, so "
                f"--encoding {given} is wrong; omit it"
            )
        return marked
    if marked is None and 4 * start[:64].count(0) > len(start[:64]):
        order = "le" if start.find(b"\0") % 2 else "be"
        raise PairsiftError(
            f"{url} holds zero bytes, but text is expected; if it is UTF-16, give "
            f"--encoding utf-16-{order}"
        )
    return marked or "utf-8"


def _without_mark(start: bytes, given: str, url: str) -> str:
    """Return the encoding of a text without a byte order mark; zero bytes show the byte order."""
    if given not in ("utf-16", "utf-32"):
        return given
    width = int(given[-2:]) // 8
    zeros = [start[place::width].count(0) for place in (0, width - 1)]
    if not any(zeros):
        raise PairsiftError(
            f"{url} has no byte order mark and does not look like {given}; omit --encoding, "
            f"or give {given}-le or {given}-be"
        )
    return f"{given}-be" if zeros[0] > zeros[1] else f"{given}-le"


def errors_of(encoding: str) -> str:
    return "surrogateescape" if encoding.startswith("utf-8") else "pairsift-surrogates"


def _as_surrogate(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


# For encodings with several bytes per unit, which surrogateescape cannot handle.
codecs.register_error("pairsift-surrogates", _as_surrogate)


def check_encoding(encoding: str | None) -> str | None:
    """Return the encoding that a user named.

    Raises:
        PairsiftError: there is no encoding of that name.
    """
    if encoding is None:
        return None
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise PairsiftError(
            f"--encoding {encoding!r} is unknown; give for example utf-8, utf-16 or latin-1"
        ) from None
    return encoding


def read_text(path: str, encoding: str | None = None) -> str:
    """Return the whole text of a file: decompressed; UTF-8, or what a byte order mark or `encoding`
    says.

    Raises:
        PairsiftError: it cannot be read, or is not text in that encoding.
    """
    try:
        with open_unpacked(path) as file:
            data = file.read()
        text = data.decode(encoding_of(data[:4096], check_encoding(encoding), path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PairsiftError(
            f"cannot read {path}: line {line} is not {error.encoding} ({error.reason})"
        ) from error
    except Exception as error:
        if isinstance(error, OSError | ValueError) or is_damage(error):
            raise PairsiftError(f"cannot read {path}: {error}") from error
        raise
    return text


def read_json(path: str, encoding: str | None = None) -> Any:
    """Read a JSON document.

    Raises:
        PairsiftError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path, encoding))
    except (ValueError, RecursionError) as error:
        raise PairsiftError(f"{path} is not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its end, numbered from 1; `cut` if it was too long and is truncated."""

    number: int
    text: str
    cut: bool = False


class Lines:
    """Numbered lines, which can be put back. Damaged compression ends them with a lost line."""

    def __init__(self, stream: IO[str], url: str) -> None:
        self.count = 0
        self._stream = stream
        self._url = url
        self._waiting: deque[Line | Lost] = deque()

    def first(self) -> str | None:
        """Return the first line that is not empty, the header; None if there is none."""
        while (line := self.next()) is not None:
            if isinstance(line, Lost):
                raise PairsiftError(f"{self._url}, line {line.line}: {line.why}")
            if line.text.strip():
                return line.text
        return None

    def next(self) -> Line | Lost | None:
        if self._waiting:
            return self._waiting.popleft()
        try:
            text = self._stream.readline(MAX_LINE_CHARACTERS)
            if not text:
                return None
            self.count += 1
            cut = len(text) == MAX_LINE_CHARACTERS and not text.endswith(("\n", "\r"))
            while cut:
                rest = self._stream.readline(MAX_LINE_CHARACTERS)
                if len(rest) < MAX_LINE_CHARACTERS:
                    break
        except Exception as error:
            if not is_damage(error):
                raise
            self.count += 1
            return Lost(self.count, f"the file is damaged from here on: {error}")
        return Line(self.count, text, cut)

    def give_back(self, lines: Sequence[Line | Lost]) -> None:
        self._waiting.extendleft(reversed(lines))
