"""A folder of images, with a captions CSV or a text file beside each image."""

from __future__ import annotations

import csv
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import IO, ClassVar

from pairsift.captions import MAX_CAPTION_BYTES, decode_caption
from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status
from pairsift.sources import files
from pairsift.sources.base import Shard, ShardReader, printable, valid_uid

IMAGE_COLUMNS = ("file_name", "image", "image_file", "filename", "file", "path")
CAPTION_COLUMNS = ("caption", "text")
_USUAL_CSVS = ("metadata.csv", "captions.csv", "metadata.tsv", "captions.tsv")
_MAX_LINE_CHARACTERS = 8 * 2**20
_MAX_ROW_ERRORS = 1000


class FolderReader(ShardReader):
    """Reads a folder as one shard.

    With a CSV or TSV (option `captions_file`, else ``metadata.csv``, ``captions.csv``, or the only
    one there): a pair a row, in the file's order, image paths relative to it (as in the imagefolder
    layout of Hugging Face). The key is the ``key`` column, or the image's path without extension;
    further captions of the same image get ``-2``, ``-3``... A path that leaves the folder is
    refused. Without: a pair an image, in the order of names, the caption in ``NAME.txt``.
    """

    kind: ClassVar[str] = "folder"

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._captions_file: str | None = options.get("captions_file")
        self._image_column: str | None = options.get("image")
        self._caption_column: str | None = options.get("caption")
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        self.notes.clear()
        name = self._captions_file or self._find_csv()
        return self._from_csv(name) if name else self._from_text_files()

    def _find_csv(self) -> str | None:
        names = {entry.url.rsplit("/", 1)[-1] for entry in files.list_folder(self.shard.url)}
        for usual in _USUAL_CSVS:
            if usual in names:
                return usual
        tables = sorted(name for name in names if name.lower().endswith((".csv", ".tsv")))
        if len(tables) > 1:
            raise PairsiftError(
                f"{self.shard.url} has several tables ({', '.join(tables[:3])}); "
                "name the one with the captions"
            )
        return tables[0] if tables else None

    def _from_csv(self, name: str) -> Iterator[Pair]:
        url = f"{self.shard.url}/{name}"
        times: Counter[str] = Counter()
        seen: set[str] = set()
        with files.open_file(url) as file:
            rows = csv.reader(_lines(file), delimiter="\t" if name.endswith(".tsv") else ",")
            try:
                header = next(rows, [])
            except csv.Error as error:
                raise PairsiftError(f"{url} is not a readable table: {error}") from error
            image = _column(header, self._image_column, IMAGE_COLUMNS, url, "image")
            caption = _column(header, self._caption_column, CAPTION_COLUMNS, url, "caption")
            number = errors = 0
            while True:
                number += 1
                try:
                    row = next(rows, None)
                except csv.Error as error:
                    errors += 1
                    yield self._unreadable_row(number, error)
                    if errors >= _MAX_ROW_ERRORS:
                        self.problem = f"{name}: {errors} unreadable rows up to row {number}"
                        return
                    continue
                if row is None:
                    return
                if not row:
                    continue
                fields = dict(zip(header, row, strict=False))
                yield self._row_pair(fields, image, caption, times, seen)

    def _unreadable_row(self, number: int, error: csv.Error) -> Pair:
        too_large = "field larger" in str(error)
        status = Status.CAPTION_TOO_LARGE if too_large else Status.READ_ERROR
        fault = Fault(status, f"row {number} of the table: {error}")
        return Pair(f"row-{number}", None, None, shard=self.shard.name, fault=fault)

    def _row_pair(
        self,
        fields: dict[str, str],
        image_column: str,
        caption_column: str,
        times: Counter[str],
        seen: set[str],
    ) -> Pair:
        path = fields.get(image_column, "")
        text = fields.get(caption_column)
        key = fields.get("key") or posixpath.splitext(path)[0] or "row"
        times[key] += 1
        if "key" not in fields and times[key] > 1:
            key = f"{key}-{times[key]}"
        caption = None if text is None else decode_caption(text.encode("utf-8", "surrogateescape"))
        image = self._image(path)
        fault = next((part for part in (image, caption) if isinstance(part, Fault)), None)
        if key in seen:
            fault = Fault(Status.DUPLICATE_KEY, "an earlier row has this key")
        seen.add(key)
        return Pair(
            key=printable(key),
            image=None if isinstance(image, Fault) else image,
            caption=None if isinstance(caption, Fault) else caption,
            shard=self.shard.name,
            uid=valid_uid(fields.get("uid")),
            metadata={
                name: value
                for name, value in fields.items()
                if name not in (image_column, caption_column)
            },
            fault=fault,
        )

    def _from_text_files(self) -> Iterator[Pair]:
        names = sorted(
            entry.url[len(self.shard.url) + 1 :]
            for entry in files.walk(self.shard.url)
            if is_image_name(entry.url) or entry.url.lower().endswith(".txt")
        )
        texts = {name for name in names if name.lower().endswith(".txt")}
        seen: set[str] = set()
        for name in names:
            if name in texts:
                continue
            key = posixpath.splitext(name)[0]
            image = self._image(name)
            caption = self._text(f"{key}.txt") if f"{key}.txt" in texts else None
            fault = next((part for part in (image, caption) if isinstance(part, Fault)), None)
            if key in seen:  # NAME.jpg and NAME.png
                fault = Fault(Status.DUPLICATE_KEY, "an earlier image has this name")
            seen.add(key)
            yield Pair(
                key=printable(key),
                image=None if isinstance(image, Fault) else image,
                caption=None if isinstance(caption, Fault) else caption,
                shard=self.shard.name,
                fault=fault,
            )
        orphans = sum(1 for name in texts if posixpath.splitext(name)[0] not in seen)
        if orphans:
            self.notes["text files without an image beside them"] += orphans

    def _image(self, path: str) -> bytes | Fault:
        if not path:
            return Fault(Status.IMAGE_MISSING, "the row names no image")
        if files.is_url(path):
            return Fault(Status.IMAGE_MISSING, "a URL is given; fetch the images first")
        if _leaves_folder(path):
            return Fault(Status.IMAGE_MISSING, f"{path!r} lies outside of the folder")
        return self._read(path, self._max_image_bytes, Status.IMAGE_MISSING, Status.IMAGE_TOO_LARGE)

    def _text(self, path: str) -> str | Fault:
        data = self._read(path, MAX_CAPTION_BYTES, Status.CAPTION_MISSING, Status.CAPTION_TOO_LARGE)
        return data if isinstance(data, Fault) else decode_caption(data)

    def _read(self, path: str, limit: int, missing: Status, too_large: Status) -> bytes | Fault:
        url = f"{self.shard.url}/{path}"
        if not files.is_url(url) and not os.path.isfile(url):  # a pipe would block
            return Fault(missing, f"no file {path!r} in the folder")
        try:
            with files.open_file(url) as file:
                data = file.read(limit + 1)
        except PairsiftError as error:
            return Fault(missing, str(error))
        if len(data) > limit:
            return Fault(too_large, f"more than the {limit:,} bytes that are read")
        return data


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 survive as surrogates, to be told later.

    A line is cut where it is absurdly long: the csv module then refuses the field.
    """
    first = True
    while line := file.readline(_MAX_LINE_CHARACTERS):
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        if len(line) == _MAX_LINE_CHARACTERS:
            while (rest := file.readline(_MAX_LINE_CHARACTERS)) and not rest.endswith(b"\n"):
                pass
        # Before Python 3.11 the csv module refuses NUL; scorers read it as a space anyway.
        yield line.decode("utf-8", "surrogateescape").replace("\0", " ")


def _column(
    header: list[str], wanted: str | None, usual: tuple[str, ...], url: str, what: str
) -> str:
    for name in (wanted,) if wanted else usual:
        if name in header:
            return name
    columns = ", ".join(header[:20]) or "none"
    expected = wanted or " or ".join(usual)
    raise PairsiftError(
        f"{url} has no {what} column {expected}; its columns are: {columns}. "
        f"Name the right one with the {what} option"
    )


def _leaves_folder(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    return path.startswith("/") or ".." in parts or "\0" in path
