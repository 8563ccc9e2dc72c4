"""Small tables that people made: CSV, TSV, JSON, parquet; plain or compressed; local or remote."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec

from pairsift.errors import PairsiftError

Row = Mapping[str, Any]


def read_text(path: str) -> str:
    """Whole text of a UTF-8 file; `.gz`, `.bz2`, `.xz` and `.zst` are unpacked.

    Raises:
        PairsiftError: it cannot be read.
    """
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig", newline="", compression="infer") as file:
            text: str = file.read()
    except (OSError, UnicodeDecodeError, ValueError, ImportError) as error:
        raise PairsiftError(f"cannot read {path}: {error}") from error
    return text


def read_json(path: str) -> Any:
    """A JSON document.

    Raises:
        PairsiftError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise PairsiftError(f"{path} is not JSON: {error}") from error


def read_fields(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and tab-separated fields of every line that is not empty."""
    # Not splitlines(), which also breaks at characters that a caption may hold.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r").split("\t")


def read_rows(path: str, needed: tuple[str, ...] = ()) -> list[Row]:
    """Rows of a table with a header: parquet by its name, TSV by its name, CSV otherwise.

    Raises:
        PairsiftError: it cannot be read, or a needed column is not there.
    """
    stem = path.lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".zst")
    if stem.endswith(".parquet"):
        columns, rows = _parquet_rows(path)
    else:
        delimiter = "\t" if stem.endswith((".tsv", ".txt")) else ","
        reader = csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter)
        # The limit is the whole process's: others rely on it to refuse overlong captions.
        usual = csv.field_size_limit(2**31 - 1)
        try:
            rows, columns = list(reader), list(reader.fieldnames or ())
        except csv.Error as error:
            raise PairsiftError(f"{path}, line {reader.line_num}: {error}") from error
        finally:
            csv.field_size_limit(usual)
    missing = [column for column in needed if column not in columns]
    if missing:
        raise PairsiftError(
            f"{path} has no column {missing[0]!r}; needed are {', '.join(needed)}, "
            f"there are {', '.join(columns) or 'none'}"
        )
    return rows


def _parquet_rows(path: str) -> tuple[list[str], list[Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fsspec.open(path, "rb") as file:
            table = pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PairsiftError(f"cannot read {path}: {error}") from error
    return table.column_names, table.to_pylist()


def first_column(row: Row, names: tuple[str, ...], path: str) -> str:
    """The first of `names` that the table has.

    Raises:
        PairsiftError: it has none of them.
    """
    for name in names:
        if name in row:
            return name
    raise PairsiftError(
        f"{path} needs a column named {' or '.join(names)}; there are {', '.join(row)}"
    )


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
