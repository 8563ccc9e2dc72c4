"""Rows of text whose fields are separated by a character: RFC 4180, or tabs without quoting.

A quote that is never closed loses only its own line: when the quoted field reaches a line that is a
complete row, the line with the quote is lost and reading continues with the next line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pairsift.captions import MAX_CAPTION_CHARACTERS
from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.sources import columns as names
from pairsift.sources.rows import MAX_LINE_CHARACTERS, Lost, Row
from pairsift.sources.text_files import Line, Lines, table_extension

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
_KEY_DIGITS = 4
# Most characters of a row with a quoted field over several lines.
_MAX_SPAN_CHARACTERS = MAX_CAPTION_CHARACTERS + 2**20
_KNOWN = frozenset(
    {*names.IMAGE_NAME_COLUMNS, *names.CAPTION_COLUMNS, *names.CAPTION_NUMBER_COLUMNS}
    | {"uid", "url", "score", "language", "domain", "category", "width", "height", "clean", "kind"}
)
_DONE, _OPEN = "", "open"
_UNCLOSED = "a quote is opened and not closed"
_STRAY = 'text follows a closing quote; within a quoted field a quote is written twice ("")'


class DelimitedRows:
    """The rows after the header. Each line is a row, part of a row, or reported as lost.

    Args:
        url: for messages.
        separator: one character; None to detect it from the header.
        encoding: the encoding that the user named.

    Attributes:
        columns: names in the header, without surrounding spaces.
        spanning: rows so far with a quoted field over several lines.

    Raises:
        PairsiftError: the header cannot be read, or the table has another separator.
    """

    def __init__(self, lines: Lines, url: str, separator: str | None, encoding: str | None) -> None:
        self.columns: list[str] = []
        self.spanning = 0
        self._lines = lines
        self._url = url
        header = lines.first()
        if header is None:
            return
        _refuse_other_encoding(header, url, encoding)
        self._separator = _sniff(header, separator, url)
        fields = _Record(self._separator).whole(header)
        if fields is None:
            raise PairsiftError(
                f"{url}, line {lines.count}: the line of column names has a quote that "
                "is not closed"
            )
        self.columns = [name.strip() for name in fields]

    def __iter__(self) -> Iterator[Row | Lost]:
        while (line := self._lines.next()) is not None:
            if isinstance(line, Lost):
                yield line
                return
            if not line.text.strip(" \r\n"):
                continue
            record = _Record(self._separator)
            state = record.feed(line.text)
            if line.cut:
                fields = dict(zip(self.columns, record.so_far(), strict=False))
                words = f"has more than {MAX_LINE_CHARACTERS:,} characters"
                yield Lost(line.number, words, fields, too_long=True)
                continue
            if state == _OPEN:
                state = self._close(record, line.text)
            if state != _DONE:
                yield Lost(line.number, state)
            elif len(record.fields) != len(self.columns):
                yield Lost(line.number, self._miscounted(record.fields))
            else:
                yield Row(line.number, dict(zip(self.columns, record.fields, strict=True)))

    def _close(self, record: _Record, first: str) -> str:
        """Read on to the end of the quote; if there is none, put back all lines after the first."""
        before = len(record.fields)
        taken: list[Line | Lost] = []
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
            elif self._like_a_row(line.text, record.fields[:before], 0):
                state = f"{_UNCLOSED} before line {line.number}, which is a complete row"
            else:
                state = record.feed(line.text)
        if state == _STRAY:
            state = _UNCLOSED
        if state == _DONE:
            after = record.fields[before + 1 :]
            if any(self._like_a_row(text, after, -len(after)) for text in texts[:-1]):
                state = f"{_UNCLOSED} before the next row"
            elif len(record.fields) != len(self.columns):
                state = self._miscounted(record.fields)
            else:
                self.spanning += 1
                return _DONE
        self._lines.give_back(taken)
        return state

    def _like_a_row(self, text: str, cells: Sequence[str], place: int) -> bool:
        """Return whether a line is a row itself, because it has a similar name in the same column.

        Args:
            cells: cells of the record from column `place` on (counted from the end if negative).
        """
        split = text.rstrip("\r\n").split(self._separator)
        return len(split) >= len(self.columns) and any(
            shape is not None and _name_shape(split[index]) == shape
            for index, shape in enumerate(map(_name_shape, cells), start=place)
        )

    def _miscounted(self, fields: Sequence[str]) -> str:
        few = "too few" if len(fields) < len(self.columns) else "too many"
        advice = (
            "a tab-separated table has no quoting"
            if self._separator == "\t"
            else 'put a field that contains the separator in quotes (")'
        )
        return f"{few} fields: {len(fields)} instead of {len(self.columns)}; {advice}"


def _refuse_other_encoding(header: str, url: str, encoding: str | None) -> None:
    try:
        header.encode()
    except UnicodeEncodeError:
        raise PairsiftError(
            f"{url}: the column names are not {encoding or 'UTF-8'}; give the encoding "
            "with --encoding, for example latin-1"
        ) from None


def check_separator(separator: str | None) -> str | None:
    """Return the separator that the user gave as one character.

    Raises:
        PairsiftError: it is longer than one character, or cannot separate fields.
    """
    if separator is None:
        return None
    character = SEPARATORS.get(separator.lower(), "\t" if separator == r"\t" else separator)
    if len(character) != 1 or character in '"\r\n':
        raise PairsiftError(
            f"--separator {separator!r}: give one character, or {', '.join(SEPARATORS)}"
        )
    return character


def _sniff(header: str, given: str | None, url: str) -> str:
    """Return the given separator, or the one that finds most usual names in the first line."""
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
            f"{url}: with --separator {given!r} the first line is a single column, "
            f"{header.strip()[:80]!r}; the separator seems to be {best!r}: give that, or omit "
            "--separator"
        )
    return given


class _Record:
    """The fields of one record, which is read line by line; RFC 4180, or tabs without quoting."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._quoted: list[str] | None = None
        self.fields: list[str] = []

    def whole(self, text: str) -> list[str] | None:
        """Return the fields of a record on one line; None if it is not complete."""
        return self.fields if self.feed(text) == _DONE else None

    def so_far(self) -> list[str]:
        """Return the fields of a truncated record, including the last one."""
        return self.fields + (["".join(self._quoted)] if self._quoted is not None else [])

    def feed(self, text: str) -> str:
        """Read a line with its end; return `_DONE`, `_OPEN` (in a quote), or an error in words."""
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


def _name_shape(cell: str) -> tuple[str, bool] | None:
    """Return what a cell has in common with the names in other rows; None if it is not a name.

    For an image's name: its extension, and whether it has spaces. For a key with at least four
    digits: the key without its digits.
    """
    cell = cell.strip()
    if is_image_name(cell):
        return cell.rpartition(".")[2].lower(), " " in cell
    if sum(map(str.isdecimal, cell)) >= _KEY_DIGITS and not any(map(str.isspace, cell)):
        return re.sub(r"\d", "0", cell), False
    return None
