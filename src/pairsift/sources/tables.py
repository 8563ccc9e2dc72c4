"""Read tables that people made: CSV, TSV, JSON lines, JSON lists and parquet, plain or compressed.

Every line of a table becomes a row or is reported as lost.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import IO, Any, cast

from pairsift.errors import PairsiftError
from pairsift.printable import first_line
from pairsift.sources import columns as names
from pairsift.sources.base import printable
from pairsift.sources.delimited import DelimitedRows, check_separator
from pairsift.sources.labels import is_label, last_labels
from pairsift.sources.rows import MAX_LINE_CHARACTERS, Fields, Lost, Row
from pairsift.sources.text_files import (
    Lines,
    check_encoding,
    encoding_of,
    errors_of,
    open_unpacked,
    read_json,
    read_text,
    start_of,
    table_extension,
)

TYPED_TABLES = (".jsonl", ".json", ".parquet")
"""extensions of tables in which numbers are not text"""
TABLE_EXTENSIONS = (".csv", ".tsv", *TYPED_TABLES)
_FIRST_OBJECTS = 100
_UID_BYTES = 16

_log = logging.getLogger("pairsift.inputs")


class TableReader:
    """Streams a table; every entry is a row or a lost line. A context manager.

    The format follows from the name (``.csv``, ``.tsv``, ``.jsonl``, ``.json``, ``.parquet``, each
    also with ``.gz``, ``.bz2``, ``.xz``, ``.zst``); any other file is a table with separators.

    Args:
        url: path or fsspec URL.
        separator: one character, or comma, tab, semicolon or pipe; detected from the first line if
            None.
        encoding: a name that Python knows; by default UTF-8, or what a byte order mark says.
        with_bytes: whether to read columns of bytes too (parquet), such as images.
        only: names of columns, or paths into them, of which a parquet file is read; None for all.

    Attributes:
        columns: names as in the table, without surrounding spaces.
        lines, rows, lost: counts so far; lines includes the header and empty lines, and is None if
            the format has no lines.
        spanning: rows with a quoted field over several lines.

    Raises:
        PairsiftError: it cannot be opened, or has another separator or encoding.
    """

    def __init__(
        self,
        url: str,
        separator: str | None = None,
        encoding: str | None = None,
        *,
        with_bytes: bool = False,
        only: Sequence[str] | None = None,
    ) -> None:
        self.url = url
        self.columns: list[str] = []
        self.rows = self.lost = 0
        self._separator, self._encoding = check_separator(separator), check_encoding(encoding)
        self._with_bytes = with_bytes
        self._only = None if only is None else [path.replace('"', "") for path in only]
        self._lines: Lines | None = None
        self._rows: DelimitedRows | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> TableReader:
        stem = table_extension(self.url)
        if stem == ".parquet":
            self._entries = self._parquet()
        elif stem == ".json":
            self._entries = self._json_list()
        else:
            self._lines = Lines(self._open_text(), self.url)
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

    @property
    def spanning(self) -> int:
        return self._rows.spanning if self._rows is not None else 0

    def counts(self) -> str:
        """Say how many lines and rows there were, for people."""
        lines = f"{self.lines:,} lines, " if self.lines is not None else ""
        lost = f", {self.lost:,} lines that are not rows" if self.lost else ""
        spanning = f", {self.spanning:,} of them over several lines" if self.spanning else ""
        return f"{lines}{self.rows:,} rows{spanning}{lost}"

    def _open_text(self) -> IO[str]:
        self._file = file = open_unpacked(self.url)
        start = start_of(file, self.url)
        encoding = encoding_of(start, self._encoding, self.url)
        # Files of old Macs end lines with only a carriage return.
        newline = "\r" if b"\r" in start and b"\n" not in start else "\n"
        # Invalid bytes are kept, so that the error can name their place.
        return io.TextIOWrapper(file, encoding, errors=errors_of(encoding), newline=newline)

    def _delimited(self) -> Iterator[Row | Lost]:
        assert self._lines is not None
        self._rows = DelimitedRows(self._lines, self.url, self._separator, self._encoding)
        self.columns = self._rows.columns
        return iter(self._rows)

    def _json_lines(self) -> Iterator[Row | Lost]:
        entries = self._json_rows()
        held = list(islice(entries, _FIRST_OBJECTS))  # they name the columns
        objects = [entry.fields for entry in held if isinstance(entry, Row)]
        if not objects and len(held) == _FIRST_OBJECTS:
            raise PairsiftError(
                f"{self.url}: none of the first {len(held)} lines is a JSON object; the first "
                "line: "
                f"{held[0].why if isinstance(held[0], Lost) else ''}"
            )
        if objects and is_label(objects[0]):
            held, entries = last_labels(chain(held, entries), self.url), iter(())
            objects = [entry.fields for entry in held if isinstance(entry, Row)]
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
                f"{self.url} holds a JSON {_json_type(content)}; expected a list with one object "
                "per row (or a .jsonl file with one object per line)"
            )
        self.columns = next((list(row) for row in content if isinstance(row, dict)), [])
        return (_checked_object(number, row) for number, row in enumerate(content, start=1))

    def _parquet(self) -> Iterator[Row | Lost]:
        import pyarrow.parquet as pq

        from pairsift.arrow import is_damage

        self._file = cast("IO[bytes]", open_unpacked(self.url))
        try:
            table = pq.ParquetFile(self._file, pre_buffer=False)
        except Exception as error:
            if not is_damage(error):
                raise
            raise PairsiftError(f"{self.url} is not a readable parquet file: {error}") from error
        self.columns = [
            field.name for field in table.schema_arrow if self._is_read(field.name, field.type)
        ]
        return self._parquet_rows(table)

    def _is_read(self, name: str, kind: Any) -> bool:
        if self._only is not None and not any(f"{p}.".startswith(f"{name}.") for p in self._only):
            return False
        return self._with_bytes or name == "uid" or not _holds_bytes(kind)

    def _parquet_rows(self, table: Any) -> Iterator[Row | Lost]:
        from pairsift.arrow import is_damage
        from pairsift.sources.arrow_values import rows

        columns = list(dict.fromkeys(self.columns))
        end = 0
        for group in range(table.num_row_groups):
            number, end = end, end + table.metadata.row_group(group).num_rows
            try:
                for batch in table.iter_batches(
                    1024, row_groups=[group], columns=columns, use_threads=False
                ):
                    for row in rows(batch):
                        number += 1
                        yield Row(number, row)
            except Exception as error:
                if not is_damage(error):
                    raise
                why = f"row group {group} is damaged: {first_line(error)[:300]}"
                yield from (Lost(row, why) for row in range(number + 1, end + 1))


def read_rows(
    path: str,
    needed: Sequence[str] = (),
    *,
    usual: Mapping[str, Sequence[str]] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    with_bytes: bool = False,
) -> list[Fields]:
    """Read the rows of a small table; the numbers of lines and rows are logged.

    Args:
        path, separator, encoding, with_bytes: see :class:`TableReader`.
        needed: required columns; the rows use these names.
        usual: other names that a required column may have in the table, the most likely first.

    Raises:
        PairsiftError: the table or a line cannot be read, or a required column is missing.
    """
    try:
        with TableReader(path, separator, encoding, with_bytes=with_bytes) as table:
            spelled = {
                name: _match_needed(table, name, (usual or {}).get(name, ()), needed)
                for name in needed
            }
            # Objects in JSON lines may lack fields.
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
    """Return the table's spelling of a required column."""
    found = names.match_column(table.columns, (name, *usual), table.url)
    if found is None and not table.columns:
        raise PairsiftError(f"{table.url} holds no rows; it needs {', '.join(needed)}")
    if found is None:
        raise PairsiftError(
            f"{table.url} has no column {name!r}; it needs {', '.join(needed)}, "
            f"its columns are {', '.join(table.columns) or 'none'}"
        )
    return found


def checked_fields(entry: Row | Lost, path: str) -> Fields:
    """Return the fields of a row, for tables in which every line must be readable.

    Raises:
        PairsiftError: the line is not a row, or not text.
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
                "save the table as UTF-8, or give its encoding with --encoding, for example "
                "latin-1"
            ) from None


def read_fields(path: str, encoding: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and tab-separated fields of every line that is not empty; there is no
    header.

    Raises:
        PairsiftError: the file cannot be read, or a line is not text.
    """
    # Not splitlines(), which also splits at characters that a caption may contain.
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r").split("\t")


def number(value: Any, path: str, where: str) -> float:
    """Return the finite number in a cell; NaN if it is empty or says nan.

    Raises:
        PairsiftError: it is something else.
    """
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise PairsiftError(f"{path}, {where}: {value!r} is not a number") from None


def is_table(url: str) -> bool:
    """Return whether a file is a table, judging by its name."""
    return table_extension(url) in TABLE_EXTENSIONS


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
    """Return whether a parquet file has a column of bytes, such as images.

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
        or (pa.types.is_fixed_size_binary(kind) and kind.byte_width != _UID_BYTES)
    )
