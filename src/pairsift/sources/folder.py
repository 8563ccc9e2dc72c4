"""A folder of images, with tables of captions or a text file beside each image."""

from __future__ import annotations

import logging
import posixpath
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pairsift.captions import MAX_CAPTION_BYTES, decode_caption
from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status
from pairsift.sources import files
from pairsift.sources.base import LISTS, Shard, ShardReader, printable, valid_uid
from pairsift.sources.columns import (
    CAPTION_COLUMNS,
    IMAGE_NAME_COLUMNS,
    KEY_COLUMNS,
    find_column,
    match_column,
)
from pairsift.sources.fields import EVERY, NoFieldError, Step, describe, join_steps, values_at
from pairsift.sources.image_paths import (
    AHEAD,
    ImagePaths,
    in_order,
    leaves_folder,
    outside,
    read_file,
)
from pairsift.sources.image_store import NameIndex
from pairsift.sources.rows import Lost, Row
from pairsift.sources.tables import TableReader, is_table
from pairsift.sources.text_files import COMPRESSIONS, table_extension

_log = logging.getLogger("pairsift.inputs")
_USUAL = tuple(
    f"{name}{extension}"
    for extension in (".csv", ".tsv", ".jsonl", ".parquet")
    for name in ("metadata", "captions")
)
_ALONE = (".csv", ".tsv", ".jsonl")  # any name, if there is only one table


class FolderReader(ShardReader):
    """Reads a folder as one shard.

    With tables, every row is a pair, in the table's order. The tables are option `captions_file`;
    else ``metadata.*`` and ``captions.*``, one per folder at any depth; else the only table in the
    folder. Image paths are relative to the table (Hugging Face's imagefolder layout). The key is
    the ``key`` column, or the image's path without extension; further captions of the same image
    get ``-2``, ``-3``... A path with ``..`` is refused, and an absolute path is only a name to
    search in the folder. With the option `image_root`, paths are relative to that folder or URL,
    or begin with it. A line that cannot be read is a pair with `Status.ROW_INVALID` and the key
    ``line-N``.

    Without tables, every image is a pair, in the order of names, with the caption in ``NAME.txt``.

    Options: `image` and `caption` name the columns (``captions.0`` for a value within lists and
    objects); `separator` and `encoding` describe the tables.
    """

    kind: ClassVar[str] = "folder"
    extensions: ClassVar[tuple[str, ...]] = tuple(
        f"{table}{packing}"
        for table in (".csv", ".tsv", ".jsonl")
        for packing in ("", ".gz", ".bz2", ".xz", ".zst")
    )
    options: ClassVar[frozenset[str]] = frozenset(
        {
            *("caption", "image", "captions_file", "separator", "encoding"),
            *("image_root", "max_image_bytes"),
        }
    )

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._captions_file: str | None = options.get("captions_file")
        self._image_column: str | None = options.get("image")
        self._caption_column: str | None = options.get("caption")
        self._separator: str | None = options.get("separator")
        self._encoding: str | None = options.get("encoding")
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))
        self._lists = bool(options.get(LISTS))
        root = options.get("image_root")
        self._root = ImagePaths(shard.url, root, self._max_image_bytes) if root else None
        self._lock = threading.Lock()
        self._index: NameIndex[str] | None = None
        self._looked_at: set[str] = set()

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        self.notes.clear()
        self._index = None
        names = tables_of(self.shard)
        if not names:
            yield from self._from_text_files()
        keys = _Keys()
        self._looked_at = set()
        for name in names:
            yield from self._from_table(name, keys)
        if not self._captions_file:  # if the user names a table, the other tables are not meant
            self._tell_left_out(names)

    def _from_table(self, name: str, keys: _Keys) -> Iterator[Pair]:
        url = f"{self.shard.url}/{name}"
        folder = posixpath.dirname(name)
        with TableReader(url, self._separator, self._encoding) as table:
            columns = _Columns.of(table, self._image_column, self._caption_column)

            def read(entry: Row | Lost) -> bytes | Fault | None:
                if isinstance(entry, Lost):
                    return None
                return self._image(_path(entry.fields, columns), folder)

            remote = self._root.remote if self._root else files.is_url(self.shard.url)
            for entry, image in in_order(table, read, AHEAD if remote else 0):
                if isinstance(entry, Lost):
                    yield self._lost(entry, name, columns, folder, keys)
                else:
                    yield self._row_pair(entry.fields, columns, folder, keys, image)
        _log.info("%s: %s", printable(url), table.counts())
        self.notes[f"rows of {printable(name)}"] += table.rows
        if table.lines is not None:
            self.notes[f"lines of {printable(name)}"] += table.lines
        if table.spanning:
            self.notes[f"rows of {printable(name)} over several lines"] += table.spanning

    def _tell_left_out(self, tables: list[str]) -> None:
        """Note, and log once, which images no row names and which tables are not read."""
        images, others = [], []
        for entry in files.walk(self.shard.url):
            name = entry.url[len(self.shard.url) + 1 :]
            if is_image_name(name):
                if tables and name not in self._looked_at:
                    images.append(name)
            elif (is_table(name) or _is_json_table(name)) and name not in tables:
                others.append(name)
        read = ", ".join(tables[:3]) or "the text file beside each image"
        told = (("images are named by no row", images), ("tables are not read", others))
        for what, names in told:
            if names:
                self.notes[what] += len(names)
                words = (
                    f"{self.shard.url}: {len(names):,} {what}, the first {min(names)}; what is "
                    f"read is {read}. --captions-file names another table (CSV, TSV, JSON lines "
                    "or parquet)"
                )
                _log.info("%s", printable(words))

    def _lost(self, lost: Lost, name: str, columns: _Columns, folder: str, keys: _Keys) -> Pair:
        status, key = Status.ROW_INVALID, ""
        path = lost.fields.get(columns.image)
        if lost.too_long and isinstance(path, str) and columns.caption in lost.fields:
            status, (key, _) = Status.CAPTION_TOO_LARGE, keys.of(None, path, folder)
        key = key or keys.free(f"line-{lost.line}")
        fault = Fault(status, printable(f"line {lost.line} of {name}: {lost.why}"))
        return Pair(printable(key), None, None, shard=self.shard.name, fault=fault)

    def _row_pair(
        self,
        fields: Mapping[str, Any],
        columns: _Columns,
        folder: str,
        keys: _Keys,
        image: bytes | Fault | None,
    ) -> Pair:
        given = fields.get(columns.key) if columns.key else None
        path = _path(fields, columns)
        if self._root is not None:
            path = self._root.relative(path)
        key, repeated = keys.of(None if given is None else str(given), path, folder)
        found = [
            _caption(value, columns.caption, join_steps(steps))
            for steps, value in _values(fields, columns.caption, self._lists)
        ]
        caption = tuple(found) if len(found) > 1 else found[0]
        fault = next((part for part in (image, caption) if isinstance(part, Fault)), None)
        if repeated:
            fault = Fault(Status.DUPLICATE_KEY, "an earlier row has this key")
        return Pair(
            key=printable(key),
            image=None if isinstance(image, Fault) else image,
            caption=caption if isinstance(caption, str) else None,
            shard=self.shard.name,
            uid=valid_uid(fields.get("uid")),
            metadata={
                name: value
                for name, value in fields.items()
                if name not in (columns.image, columns.caption)
            },
            fault=fault,
            captions=caption if isinstance(caption, tuple) else None,
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
            image = self._read_image(name)
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

    def _image(self, path: str, folder: str) -> bytes | Fault:
        """Return the image that a row of a table in `folder` names."""
        if self._root is not None:
            return self._root.read(path)
        if not path:
            return Fault(Status.IMAGE_MISSING, "the row names no image")
        place = path.removeprefix(f"{self.shard.url}/")
        if files.is_url(place) or leaves_folder(place):
            return outside(path, self.shard.url)
        if place == path and not path.startswith("/"):
            place = posixpath.join(folder, path)
        if not place.startswith("/"):
            image = self._read_image(place)
            if not (isinstance(image, Fault) and image.status is Status.IMAGE_MISSING):
                return image
        try:
            found = self._names().find(place)
        except PairsiftError as error:
            return Fault(Status.IMAGE_MISSING, str(error))
        if found is not None:
            return self._read_image(found)
        if place.startswith("/"):
            return outside(path, self.shard.url)
        return Fault(Status.IMAGE_MISSING, printable(f"no file {place[:200]!r} in the folder"))

    def _names(self) -> NameIndex[str]:
        """The folder's images by name, listed when a path is first not found as written."""
        with self._lock:  # several threads read from a remote storage
            if self._index is None:
                index: NameIndex[str] = NameIndex("--image-root")
                for entry in files.walk(self.shard.url):
                    if is_image_name(entry.url):
                        name = entry.url[len(self.shard.url) + 1 :]
                        index.add(name, name, self.shard.url)
                self._index = index
            return self._index

    def _read_image(self, path: str) -> bytes | Fault:
        return self._read(path, self._max_image_bytes, Status.IMAGE_MISSING, Status.IMAGE_TOO_LARGE)

    def _text(self, path: str) -> str | Fault:
        data = self._read(path, MAX_CAPTION_BYTES, Status.CAPTION_MISSING, Status.CAPTION_TOO_LARGE)
        return data if isinstance(data, Fault) else decode_caption(data)

    def _read(self, path: str, limit: int, missing: Status, too_large: Status) -> bytes | Fault:
        self._looked_at.add(posixpath.normpath(path))
        return read_file(f"{self.shard.url}/{path}", limit, missing, too_large)


def _is_json_table(name: str) -> bool:
    """Return whether it is a table in one JSON document, not a .json beside an image."""
    return posixpath.basename(name).lower() in ("metadata.json", "captions.json")


def tables_of(shard: Shard) -> list[str]:
    """Return the tables of captions of a folder, as paths below it; none if text files are used.

    Raises:
        PairsiftError: there are several tables, and none has a usual name.
    """
    named = dict(shard.options).get("captions_file")
    if named:
        below = f"{shard.url}/"
        return [str(named).removeprefix(below)]
    by_folder: dict[str, list[str]] = {}
    for entry in files.walk(shard.url):
        if is_table(entry.url):
            path = entry.url[len(shard.url) + 1 :]
            by_folder.setdefault(posixpath.dirname(path), []).append(path)
    usual = [
        min(ranked)[1]
        for _, paths in sorted(by_folder.items())
        if (ranked := [(_USUAL.index(n), p) for p in paths if (n := _plain(p)) in _USUAL])
    ]
    if usual:
        return usual
    others = sorted(path for path in by_folder.get("", []) if table_extension(path) in _ALONE)
    if len(others) > 1:
        raise PairsiftError(
            f"{shard.url} has several tables ({', '.join(others[:3])}); "
            "give the one with the captions with --captions-file"
        )
    return others


def _plain(path: str) -> str:
    """Return a table's file name, in lower case and without the extension of a compression."""
    name = posixpath.basename(path).lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return name


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns of a table hold what."""

    image: str
    caption: str
    key: str | None

    @classmethod
    def of(cls, table: TableReader, image: str | None, caption: str | None) -> _Columns:
        if not table.columns and table_extension(table.url).startswith(".json"):
            return cls("", "", None)  # the file has no object
        # Any row may have a uid, but from one column.
        match_column([name for name in table.columns if name == "uid"], ["uid"], table.url)
        return cls(
            _column(table, image, IMAGE_NAME_COLUMNS, "image", "--image-field"),
            _column(table, caption, CAPTION_COLUMNS, "caption", "--caption-field"),
            match_column(table.columns, KEY_COLUMNS, table.url),
        )


def _column(
    table: TableReader, wanted: str | None, usual: tuple[str, ...], what: str, option: str
) -> str:
    if (
        wanted and "." in wanted and wanted not in table.columns
    ):  # the path leads into a list or object
        find_column(table.columns, usual, table.url, what, wanted.split(".")[0], option)
        return wanted
    return find_column(table.columns, usual, table.url, what, wanted, option)


def _path(fields: Mapping[str, Any], columns: _Columns) -> str:
    """Return the image's path in a row; empty if it has none."""
    ((_, named),) = _values(fields, columns.image)
    return "" if named is None or isinstance(named, NoFieldError) else str(named)


def _values(
    fields: Mapping[str, Any], path: str, lists: bool = False
) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Yield what a row has in a column, or inside it; a :class:`NoFieldError` if nothing."""
    if path in fields and not (lists and isinstance(fields[path], list)):
        return iter([((path,), fields[path])])
    return values_at(fields, path, lists)


def _caption(value: Any, column: str, path: str) -> str | Fault | None:
    if value is None and path == column:
        return None
    if isinstance(value, NoFieldError):
        return Fault(Status.CAPTION_MISSING, str(value))
    if isinstance(value, str):
        return _decoded(value)
    advice = ""
    if isinstance(value, list):
        advice = (
            f"; --caption-field {column}.0 takes the first, '{column}.{EVERY}' makes a row of each"
        )
    return Fault(Status.CAPTION_MISSING, f"{path!r} is {describe(value)}, not text{advice}")


def _decoded(caption: str) -> str | Fault:
    """Decode a caption as other sources do; invalid bytes are in it as surrogates."""
    try:
        data = caption.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # one half of a surrogate pair, which JSON can contain
        data = caption.encode("utf-8", "surrogatepass")
    decoded = decode_caption(data)
    if isinstance(decoded, Fault) and decoded.status is Status.CAPTION_INVALID:
        words = f"{decoded.error}; if the table is not UTF-8, give its encoding with --encoding"
        return Fault(decoded.status, words)
    return decoded


@dataclass(slots=True)
class _Keys:
    """The keys of one folder, each used once."""

    times: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    def of(self, given: str | None, path: str, folder: str) -> tuple[str, bool]:
        """Return the key of a row, and whether an earlier row has it.

        Args:
            given: the table's key; None or empty to make one from the image's path in `folder`.
        """
        key = given or posixpath.join(folder, posixpath.splitext(path)[0]) or "row"
        if not given:
            return self.free(key), False
        repeated = key in self.seen
        self.seen.add(key)
        return key, repeated

    def free(self, key: str) -> str:
        """Return the key, or the next similar one that no row has."""
        free = key
        while free in self.seen:
            self.times[key] += 1
            free = f"{key}-{self.times[key] + 1}"
        self.seen.add(free)
        return free
