"""Tables that people made: CSV, TSV, JSON lines, JSON lists and parquet, plain or compressed.

Every line of a table is a row or a told loss. A comma, semicolon or pipe separates as RFC 4180
says: a field in double quotes may hold separators, line ends and, written twice, quotes. Tabs
separate without any quoting. A quote that is never closed costs its own line, not those behind it.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import lzma
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import IO, Any, cast

from pairsift.captions import MAX_CAPTION_CHARACTERS
from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.sources import columns as names
from pairsift.sources import files
from pairsift.sources.base import printable

TABLE_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
MAX_LINE_CHARACTERS = 8 * 2**20
_FIRST_OBJECTS = 100
_KEY_DIGITS = 4
# A quoted field of several lines, beside the rest of its row.
_MAX_SPAN_CHARACTERS = MAX_CAPTION_CHARACTERS + 2**20

_log = logging.getLogger("pairsift.inputs")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KNOWN = frozenset(
    {*names.IMAGE_NAME_COLUMNS, *names.CAPTION_COLUMNS, *names.CAPTION_NUMBER_COLUMNS}
    | {"uid", "url", "score", "language", "domain", "category", "width", "height", "clean", "kind"}
)
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row; `line` is where it begins, from 1 (in JSON lists and parquet its number)."""

    line: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class Lost:
    """A line that is no row.

    Attributes:
        why: in words, without the line's number.
        fields: what could be read of it.
        too_long: it has more than `MAX_LINE_CHARACTERS`; the last of `fields` is cut.
    """

    line: int
    why: str
    fields: Fields = field(default_factory=dict)
    too_long: bool = False


class TableReader:
    """Streams a table, a row or a loss at a time; a context manager.

    The format is told from the name (``.csv``, ``.tsv``, ``.jsonl``, ``.json``, ``.parquet``,
    and ``.gz``, ``.bz2``, ``.xz``, ``.zst`` behind it); anything else is a table with separators.

    Args:
        url: path or fsspec URL.
        separator: one character, or comma, tab, semicolon or pipe; found by the first line if
            not given.
        encoding: a name that Python knows; by default UTF-8, or what a byte order mark says.
        with_bytes: also read columns of bytes (parquet), such as images.

    Attributes:
        columns: names as the table has them, without surrounding spaces.
        lines, rows, lost: how many were met so far; lines counts the header and empty lines too,
            and is None where a format has no lines.
        spanning: rows with a quoted field of several lines.

    Raises:
        PairsiftError: it cannot be opened, or separator or encoding are not those of the table.
    """

    def __init__(
        self,
        url: str,
        separator: str | None = None,
        encoding: str | None = None,
        *,
        with_bytes: bool = False,
    ) -> None:
        self.url = url
        self.columns: list[str] = []
        self.rows = self.lost = self.spanning = 0
        self._separator, self._encoding = check_separator(separator), check_encoding(encoding)
        self._with_bytes = with_bytes
        self._lines: _Lines | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> TableReader:
        stem = table_extension(self.url)
        if stem == ".parquet":
            self._entries = self._parquet()
        elif stem == ".json":
            self._entries = self._json_list()
        else:
            self._lines = _Lines(self._open_text(), self.url)
            self._entries = self._json_lines() if stem == ".jsonl" else self._delimited()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[Row | Lost]:
        for entry in self._entries:
            if isinstance(entry, Row):
                self.rows += 1
            else:
                self.lost += 1
            yield entry

    @property
    def lines(self) -> int | None:
        return self._lines.count if self._lines is not None else None

    def counts(self) -> str:
        """How many lines and rows there were, for people."""
        lines = f"{self.lines:,} lines, " if self.lines is not None else ""
        lost = f", {self.lost:,} lines that are no rows" if self.lost else ""
        spanning = f", {self.spanning:,} of them over several lines" if self.spanning else ""
        return f"{lines}{self.rows:,} rows{spanning}{lost}"

    def _open_text(self) -> IO[str]:
        self._file = file = open_unpacked(self.url)
        start = file.peek(4096)[:4096]
        encoding = _encoding_of(start, self._encoding, self.url)
        # Old Macs ended lines with a carriage return alone.
        newline = "\r" if b"\r" in start and b"\n" not in start else "\n"
        # Bytes that are no text survive, and are told where they stand.
        return io.TextIOWrapper(file, encoding, errors=_errors_of(encoding), newline=newline)

    def _delimited(self) -> Iterator[Row | Lost]:
        assert self._lines is not None
        header = self._lines.first()
        if header is None:
            return iter(())
        self._refuse_other_encoding(header)
        separator = _sniff(header, self._separator, self.url)
        fields = _Record(separator).whole(header)
        if fields is None:
            raise PairsiftError(
                f"{self.url}, line {self._lines.count}: the line of column names has a quote that "
                "is not closed"
            )
        self.columns = [name.strip() for name in fields]
        return self._delimited_rows(separator)

    def _delimited_rows(self, separator: str) -> Iterator[Row | Lost]:
        assert self._lines is not None
        while (line := self._lines.next()) is not None:
            if isinstance(line, Lost):
                yield line
                return
            if not line.text.strip(" \r\n"):
                continue
            record = _Record(separator)
            state = record.feed(line.text)
            if line.cut:
                fields = dict(zip(self.columns, record.so_far(), strict=False))
                words = f"has more than {MAX_LINE_CHARACTERS:,} characters"
                yield Lost(line.number, words, fields, too_long=True)
                continue
            if state == _OPEN:
                state = self._close(record, line.text, separator)
            if state != _DONE:
                yield Lost(line.number, state)
            elif len(record.fields) != len(self.columns):
                yield Lost(line.number, self._miscounted(record.fields, separator))
            else:
                yield Row(line.number, dict(zip(self.columns, record.fields, strict=True)))

    def _close(self, record: _Record, first: str, separator: str) -> str:
        """Read on to the quote's end; where it has none, give back the lines behind the first."""
        assert self._lines is not None
        before = len(record.fields)
        taken: list[_Line | Lost] = []
        texts = [first]
        length, state = len(first), _OPEN
        while state == _OPEN:
            line = self._lines.next()
            if line is not None:
                taken.append(line)
            if line is None or isinstance(line, Lost) or line.cut:
                state = _UNCLOSED
                break
            texts.append(line.text)
            length += len(line.text)
            if length > _MAX_SPAN_CHARACTERS:
                state = f"{_UNCLOSED} within {_MAX_SPAN_CHARACTERS:,} characters"
            elif self._like_a_row(line.text, record.fields[:before], 0, separator):
                state = f"{_UNCLOSED} before line {line.number}, which is a row again"
            else:
                state = record.feed(line.text)
        if state == _STRAY:
            state = _UNCLOSED
        if state == _DONE:
            after = record.fields[before + 1 :]
            if any(self._like_a_row(text, after, -len(after), separator) for text in texts[:-1]):
                state = f"{_UNCLOSED} before the next row"
            elif len(record.fields) != len(self.columns):
                state = self._miscounted(record.fields, separator)
            else:
                self.spanning += 1
                return _DONE
        self._lines.give_back(taken)
        return state

    def _like_a_row(self, text: str, cells: Sequence[str], place: int, separator: str) -> bool:
        """Whether a line has a name such as the record's in its place: then it is a row itself.

        Args:
            cells: of the record, as they stand from `place` on (counted from the end if below 0).
        """
        split = text.rstrip("\r\n").split(separator)
        return len(split) >= len(self.columns) and any(
            shape is not None and _name_shape(split[index]) == shape
            for index, shape in enumerate(map(_name_shape, cells), start=place)
        )

    def _miscounted(self, fields: Sequence[str], separator: str) -> str:
        few = "too few" if len(fields) < len(self.columns) else "too many"
        advice = (
            "a tab-separated table has no quoting"
            if separator == "\t"
            else 'a field that holds the separator must stand in quotes (")'
        )
        return f"{few} fields: {len(fields)} instead of {len(self.columns)}; {advice}"

    def _refuse_other_encoding(self, header: str) -> None:
        try:
            header.encode()
        except UnicodeEncodeError:
            raise PairsiftError(
                f"{self.url}: the column names are not {self._encoding or 'UTF-8'}; name the "
                "table's encoding with --encoding, for example latin-1"
            ) from None

    def _json_lines(self) -> Iterator[Row | Lost]:
        entries = self._json_rows()
        held = list(islice(entries, _FIRST_OBJECTS))  # which name the columns
        objects = [entry.fields for entry in held if isinstance(entry, Row)]
        if not objects and len(held) == _FIRST_OBJECTS:
            raise PairsiftError(
                f"{self.url}: none of the first {len(held)} lines is a JSON object; the first: "
                f"{held[0].why if isinstance(held[0], Lost) else ''}"
            )
        self.columns = list(dict.fromkeys(name for fields in objects for name in fields))
        return chain(held, entries)

    def _json_rows(self) -> Iterator[Row | Lost]:
        assert self._lines is not None
        while (line := self._lines.next()) is not None:
            if isinstance(line, Lost):
                yield line
                return
            if not line.text.strip():
                continue
            if line.cut:
                words = f"has more than {MAX_LINE_CHARACTERS:,} characters"
                yield Lost(line.number, words, too_long=True)
                continue
            yield _json_entry(line.number, line.text)

    def _json_list(self) -> Iterator[Row | Lost]:
        content = read_json(self.url, self._encoding)
        if not isinstance(content, list):
            raise PairsiftError(
                f"{self.url} holds a JSON {_json_type(content)}; a list of objects, one a row, is "
                "needed (or one object a line, in a file named .jsonl)"
            )
        self.columns = next((list(row) for row in content if isinstance(row, dict)), [])
        return (_checked_object(number, row) for number, row in enumerate(content, start=1))

    def _parquet(self) -> Iterator[Row | Lost]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file = cast("IO[bytes]", open_unpacked(self.url))
        try:
            table = pq.ParquetFile(self._file, pre_buffer=False)
        except (pa.ArrowException, ValueError) as error:
            raise PairsiftError(f"{self.url} is not a readable parquet file: {error}") from error
        schema = table.schema_arrow
        self.columns = [
            name
            for name in dict.fromkeys(schema.names)
            if self._with_bytes or not _holds_bytes(schema.field(name).type)
        ]
        return self._parquet_rows(table)

    def _parquet_rows(self, table: Any) -> Iterator[Row | Lost]:
        import pyarrow as pa

        number = 0
        try:
            for batch in table.iter_batches(1024, columns=self.columns, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield Row(number, row)
        except (pa.ArrowException, ValueError) as error:
            left = table.metadata.num_rows - number
            yield Lost(number + 1, f"{left:,} rows from here on cannot be read: {error}")


def read_rows(
    path: str,
    needed: Sequence[str] = (),
    *,
    usual: Mapping[str, Sequence[str]] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    with_bytes: bool = False,
) -> list[Fields]:
    """Rows of a small table; how many lines and rows there are is logged.

    Args:
        path, separator, encoding, with_bytes: see :class:`TableReader`.
        needed: columns that must be there; the rows hold them by these very names.
        usual: other names that a needed column may have in the table, the likeliest first.

    Raises:
        PairsiftError: the table cannot be read, a line is no row, or a needed column is not there.
    """
    try:
        with TableReader(path, separator, encoding, with_bytes=with_bytes) as table:
            spelled = {
                name: _match_needed(table, name, (usual or {}).get(name, ()), needed)
                for name in needed
            }
            # Objects of JSON lines need not have all fields.
            rows = [dict.fromkeys(table.columns) | checked_fields(entry, path) for entry in table]
    except OSError as error:
        raise PairsiftError(f"cannot read {path}: {error}") from error
    _log.info("%s: %s", printable(path), table.counts())
    renamed = {theirs: name for name, theirs in spelled.items() if theirs != name}
    if renamed:
        rows = [{renamed.get(name, name): value for name, value in r.items()} for r in rows]
    return rows


def _match_needed(
    table: TableReader, name: str, usual: Sequence[str], needed: Sequence[str]
) -> str:
    """The table's spelling of a column that must be there."""
    found = names.match_column(table.columns, (name, *usual), table.url)
    if found is None:
        raise PairsiftError(
            f"{table.url} has no column {name!r}; needed are {', '.join(needed)}, "
            f"there are {', '.join(table.columns) or 'none'}"
        )
    return found


def checked_fields(entry: Row | Lost, path: str) -> Fields:
    """The fields of a row of a table in which every line must be one.

    Raises:
        PairsiftError: the line is no row, or not text.
    """
    if isinstance(entry, Lost):
        raise PairsiftError(f"{path}, line {entry.line}: {entry.why}")
    for value in entry.fields.values():
        if isinstance(value, str):
            _refuse_other_bytes(value, path, entry.line)
    return entry.fields


def _refuse_other_bytes(text: str, path: str, line: int) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PairsiftError(
                f"{path}, line {line}: not UTF-8 at {printable(text[: error.start + 1])[-40:]!r}; "
                "save the table as UTF-8, or name its encoding with --encoding, for example "
                "latin-1"
            ) from None


def read_fields(path: str, encoding: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Line number and tab-separated fields of every line that is not empty; no header.

    Raises:
        PairsiftError: the file cannot be read, or a line is not text.
    """
    # Not splitlines(), which also breaks at characters that a caption may hold.
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r").split("\t")


def read_text(path: str, encoding: str | None = None) -> str:
    """Whole text of a file: UTF-8, or what a byte order mark or `encoding` says; unpacked.

    Raises:
        PairsiftError: it cannot be read, or is not text of that encoding.
    """
    try:
        with open_unpacked(path) as file:
            data = file.read()
        text = data.decode(_encoding_of(data[:4096], check_encoding(encoding), path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PairsiftError(
            f"cannot read {path}: line {line} is not {error.encoding} ({error.reason})"
        ) from error
    except (OSError, ValueError, *_DAMAGE) as error:
        raise PairsiftError(f"cannot read {path}: {error}") from error
    return text


def read_json(path: str, encoding: str | None = None) -> Any:
    """A JSON document.

    Raises:
        PairsiftError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path, encoding))
    except (ValueError, RecursionError) as error:
        raise PairsiftError(f"{path} is not JSON: {error}") from error


def number(value: Any, path: str, where: str) -> float:
    """A finite number of a cell; NaN where it is empty or says nan.

    Raises:
        PairsiftError: it is neither.
    """
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise PairsiftError(f"{path}, {where}: {value!r} is not a number") from None


def lookup(fields: Mapping[str, Any], path: str) -> Any:
    """A field, or a field within objects and lists: ``captions.0``, ``meta.text``."""
    if path in fields:
        return fields[path]
    value: Any = fields
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def table_extension(url: str) -> str:
    """The extension that tells the format, without that of a compression; lower case."""
    name = url.rsplit("/", 1)[-1].lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return f".{name.rpartition('.')[2]}" if "." in name else ""


def is_table(url: str) -> bool:
    """Whether a file is a table by its name."""
    return table_extension(url) in TABLE_EXTENSIONS


def check_separator(separator: str | None) -> str | None:
    """The character that a user named.

    Raises:
        PairsiftError: it is more than one character, or one that cannot separate.
    """
    if separator is None:
        return None
    character = SEPARATORS.get(separator.lower(), "\t" if separator == r"\t" else separator)
    if len(character) != 1 or character in '"\r\n':
        raise PairsiftError(
            f"--separator {separator!r}: give one character, or {', '.join(SEPARATORS)}"
        )
    return character


def check_encoding(encoding: str | None) -> str | None:
    """The encoding that a user named.

    Raises:
        PairsiftError: there is none of that name.
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


def open_unpacked(url: str) -> io.BufferedReader:
    """A file's bytes, unpacked if it is compressed by its name or by its first bytes.

    Raises:
        PairsiftError: it cannot be opened, or unpacking it needs a package that is not there.
    """
    import fsspec
    from fsspec.compression import compr

    url = files.normalise(url)
    file: Any = files.open_file(url)
    packing = fsspec.utils.infer_compression(url)
    buffered = io.BufferedReader(file) if not isinstance(file, io.BufferedReader) else file
    if packing is None and buffered.peek(2)[:2] == b"\x1f\x8b":
        packing = "gzip"
    if packing is None:
        return buffered
    if packing not in compr:
        raise PairsiftError(f"{url} is packed as {packing}, which cannot be read here; unpack it")
    return io.BufferedReader(cast("io.RawIOBase", compr[packing](buffered, mode="rb")))


def _encoding_of(start: bytes, given: str | None, url: str) -> str:
    marked = next((name for mark, name in _BOMS if start.startswith(mark)), None)
    if given is not None:
        plain = codecs.lookup(given).name
        if marked is None:
            return _without_mark(start, plain, url)
        if marked.removesuffix("-sig") not in plain and plain not in marked:
            raise PairsiftError(
                f"{url} begins with the byte order mark of {marked.removesuffix('-sig')}, so "
                f"--encoding {given} cannot be right; leave it out"
            )
        return marked
    if marked is None and 4 * start[:64].count(0) > len(start[:64]):
        order = "le" if start.find(b"\0") % 2 else "be"
        raise PairsiftError(
            f"{url} holds zero bytes where text is expected; if it is UTF-16, give "
            f"--encoding utf-16-{order}"
        )
    return marked or "utf-8"


def _without_mark(start: bytes, given: str, url: str) -> str:
    """The encoding of a text without a byte order mark, the order told by its zero bytes."""
    if given not in ("utf-16", "utf-32"):
        return given
    width = int(given[-2:]) // 8
    zeros = [start[place::width].count(0) for place in (0, width - 1)]
    if not any(zeros):
        raise PairsiftError(
            f"{url} has no byte order mark and does not look like {given}; leave --encoding "
            f"out, or give {given}-le or {given}-be"
        )
    return f"{given}-be" if zeros[0] > zeros[1] else f"{given}-le"


def _errors_of(encoding: str) -> str:
    return "surrogateescape" if encoding.startswith("utf-8") else "pairsift-surrogates"


def _as_surrogate(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


# For encodings of several bytes a unit, which surrogateescape is not made for.
codecs.register_error("pairsift-surrogates", _as_surrogate)


def _sniff(header: str, given: str | None, url: str) -> str:
    """The separator: given, or the one that finds most of the usual names in the first line."""
    usual = "\t" if table_extension(url) in (".tsv", ".txt", ".tab") else ","
    columns = {
        candidate: [name.strip().casefold() for name in _Record(candidate).whole(header) or [""]]
        for candidate in {usual, *SEPARATORS.values(), given or usual}
    }

    def fit(candidate: str) -> tuple[int, bool, int]:
        split = columns[candidate]
        return len(_KNOWN.intersection(split)), candidate == usual and len(split) > 1, len(split)

    best = max((usual, *SEPARATORS.values()), key=fit)
    if given is None:
        return best
    if len(columns[given]) == 1 and len(columns[best]) > 1:
        raise PairsiftError(
            f"{url}: with --separator {given!r} the first line is one column, "
            f"{header.strip()[:80]!r}; it looks as if {best!r} separates: give that, or leave "
            "--separator out"
        )
    return given


_DONE, _OPEN = "", "open"
_UNCLOSED = "a quote is opened and not closed"
_STRAY = 'text follows a closing quote; within a quoted field a quote is written twice ("")'


class _Record:
    """The fields of one record, which is fed line by line; RFC 4180, or no quoting with tabs."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._quoted: list[str] | None = None
        self.fields: list[str] = []

    def whole(self, text: str) -> list[str] | None:
        """The fields of a record on one line; None if it is none."""
        return self.fields if self.feed(text) == _DONE else None

    def so_far(self) -> list[str]:
        """The fields of a record that was cut, the last one included."""
        return self.fields + (["".join(self._quoted)] if self._quoted is not None else [])

    def feed(self, text: str) -> str:
        """Take a line with its end; `_DONE`, `_OPEN` (a quote is), or what is wrong in words."""
        line = text.rstrip("\r\n")
        if self._separator == "\t" or (self._quoted is None and '"' not in line):
            self.fields += line.split(self._separator)
            return _DONE
        at = 0
        while True:
            if self._quoted is None:
                if not line.startswith('"', at):
                    end = line.find(self._separator, at)
                    self.fields.append(line[at:] if end < 0 else line[at:end])
                    if end < 0:
                        return _DONE
                    at = end + 1
                    continue
                self._quoted, at = [], at + 1
            end = text.find('"', at)
            if end < 0:
                self._quoted.append(text[at:])
                return _OPEN
            self._quoted.append(text[at:end])
            at = end + 2
            following = line[end + 1 : at]
            if following == '"':
                self._quoted.append('"')
                continue
            if following not in ("", self._separator):
                return _STRAY
            self.fields.append("".join(self._quoted))
            self._quoted = None
            if not following:
                return _DONE


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with its end, from 1; `cut` where it is absurdly long."""

    number: int
    text: str
    cut: bool = False


class _Lines:
    """Numbered lines, which can be given back. Damaged compression ends them with a loss."""

    def __init__(self, stream: IO[str], url: str) -> None:
        self.count = 0
        self._stream = stream
        self._url = url
        self._waiting: deque[_Line | Lost] = deque()

    def first(self) -> str | None:
        """The first line that is not empty, for the header; None if there is none."""
        while (line := self.next()) is not None:
            if isinstance(line, Lost):
                raise PairsiftError(f"{self._url}, line {line.line}: {line.why}")
            if line.text.strip():
                return line.text
        return None

    def next(self) -> _Line | Lost | None:
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
        except _DAMAGE as error:
            self.count += 1
            return Lost(self.count, f"the file is damaged from here on: {error}")
        return _Line(self.count, text, cut)

    def give_back(self, lines: Sequence[_Line | Lost]) -> None:
        self._waiting.extendleft(reversed(lines))


def _name_shape(cell: str) -> tuple[str, bool] | None:
    """What makes a cell look like the names in other rows; None if it is no name.

    Of an image's name the extension, and whether it has spaces; of a key with at least four digits
    the key, its digits apart.
    """
    cell = cell.strip()
    if is_image_name(cell):
        return cell.rpartition(".")[2].lower(), " " in cell
    if sum(map(str.isdecimal, cell)) >= _KEY_DIGITS and not any(map(str.isspace, cell)):
        return re.sub(r"\d", "0", cell), False
    return None


def _json_entry(line: int, text: str) -> Row | Lost:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Lost(line, f"not JSON: {error}")
    return _checked_object(line, content)


def _checked_object(line: int, content: Any) -> Row | Lost:
    if isinstance(content, dict):
        return Row(line, content)
    return Lost(line, f"a JSON {_json_type(content)}, not an object")


def _json_type(content: Any) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(content), "number")


def holds_bytes(url: str) -> bool:
    """Whether a parquet file has a column of bytes, such as images.

    Raises:
        PairsiftError: it cannot be read.
    """
    with TableReader(url) as without, TableReader(url, with_bytes=True) as whole:
        return without.columns != whole.columns


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
