"""Read captions that are identified by image and number."""

from __future__ import annotations

import re
from collections import defaultdict

from pairsift.errors import PairsiftError
from pairsift.sources.columns import (
    CAPTION_COLUMNS,
    CAPTION_NUMBER_COLUMNS,
    IMAGE_NAME_COLUMNS,
    find_column,
    match_column,
)
from pairsift.sources.labels import only_good
from pairsift.sources.tables import read_fields, read_rows
from pairsift.sources.text_files import open_unpacked, start_of, table_extension

Captions = dict[tuple[str, int], str]
"""Captions by image file name and caption number, from 0."""

_TOKEN = re.compile(r"[^\t\n]*#\d+\t")


def read_captions(
    path: str, *, separator: str | None = None, encoding: str | None = None
) -> Captions:
    """Read captions with their numbers.

    Two forms: Flickr8k's `Flickr8k.token.txt` (`image.jpg#0<TAB>caption` on every line), and a
    table (see :class:`pairsift.sources.tables.TableReader`) with a column for the image and one
    for the caption. Its captions are numbered by the column `caption_number`, or else by their
    order within the image. Of labels that `pairsift explore` wrote, the good captions are read.

    Args:
        separator, encoding: of the table; detected if None.

    Raises:
        PairsiftError: the file has another form, or a line cannot be read.
    """
    if _is_token_file(path):
        return _token_file(path, encoding)
    rows = only_good(read_rows(path, separator=separator, encoding=encoding), path)
    if not rows:
        raise PairsiftError(f"{path} holds no captions")
    columns = list(rows[0])
    image = find_column(columns, IMAGE_NAME_COLUMNS, path, "image")
    caption = find_column(columns, CAPTION_COLUMNS, path, "caption")
    number = match_column(columns, CAPTION_NUMBER_COLUMNS, path)
    seen: dict[str, int] = defaultdict(int)
    captions: Captions = {}
    for place, row in enumerate(rows, start=1):
        name, text = str(row[image]), row[caption]
        for one in text if isinstance(text, list) else [text]:
            if not (one is None or isinstance(one, str)):
                raise PairsiftError(
                    f"{path}, row {place}: {caption!r} is a {type(one).__name__}, not text"
                )
            index = seen[name]
            if number is not None and row[number] is not None:
                try:
                    index = int(row[number])
                except (TypeError, ValueError):
                    raise PairsiftError(
                        f"{path}, row {place}: {number} is {row[number]!r}, not a whole number"
                    ) from None
            if (name, index) in captions:
                raise PairsiftError(f"{path}, row {place}: {name} has caption {index} twice")
            captions[name, index] = one or ""
            seen[name] += 1
    return captions


def _is_token_file(path: str) -> bool:
    if table_extension(path) != ".txt":
        return False
    with open_unpacked(path) as file:
        start = start_of(file, path)
    return _TOKEN.match(start.decode("utf-8-sig", "replace").lstrip()) is not None


def _token_file(path: str, encoding: str | None) -> Captions:
    captions: Captions = {}
    for line, fields in read_fields(path, encoding):
        name, mark, index = fields[0].rpartition("#")
        if len(fields) != 2 or not mark or not index.isdigit():
            raise PairsiftError(f"{path}, line {line}: expected image.jpg#0<TAB>caption")
        captions[name, int(index)] = fields[1]
    return captions
