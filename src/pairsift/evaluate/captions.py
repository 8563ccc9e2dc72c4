"""Captions that judgments refer to by image and number."""

from __future__ import annotations

from collections import defaultdict

from pairsift.errors import PairsiftError
from pairsift.evaluate.tables import first_column, read_fields, read_rows

IMAGE_COLUMNS = ("image_file", "image", "image_id", "filename")
CAPTION_COLUMNS = ("caption", "caption_english", "text")

Captions = dict[tuple[str, int], str]
"""By image file name and caption number, from 0."""


def read_captions(path: str) -> Captions:
    """Read captions with their numbers.

    Two forms: Flickr8k's `Flickr8k.token.txt` (`image.jpg#0<TAB>caption` on every line), and a CSV
    or parquet with a column for the image and one for the caption. Its captions are numbered by
    the column `caption_number`, or else by their order within the image.

    Raises:
        PairsiftError: the file has another form.
    """
    if path.lower().endswith(".txt"):
        return _token_file(path)
    rows = read_rows(path)
    if not rows:
        raise PairsiftError(f"{path} holds no captions")
    image = first_column(rows[0], IMAGE_COLUMNS, path)
    caption = first_column(rows[0], CAPTION_COLUMNS, path)
    seen: dict[str, int] = defaultdict(int)
    captions: Captions = {}
    for row in rows:
        name = str(row[image])
        captions[name, int(row.get("caption_number", seen[name]))] = str(row[caption] or "")
        seen[name] += 1
    return captions


def _token_file(path: str) -> Captions:
    captions: Captions = {}
    for line, fields in read_fields(path):
        name, mark, index = fields[0].rpartition("#")
        if len(fields) != 2 or not mark or not index.isdigit():
            raise PairsiftError(f"{path}, line {line}: expected image.jpg#0<TAB>caption")
        captions[name, int(index)] = fields[1]
    return captions
