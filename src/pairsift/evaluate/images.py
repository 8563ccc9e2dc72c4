"""Encoded images by file name, out of folders, tars and parquet files."""

from __future__ import annotations

import abc
import os
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import fsspec

from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.storage import Folder

NAME_COLUMNS = ("image_file", "file_name", "filename", "key", "path", "image_id")
BYTES_COLUMNS = ("image", "image_jpeg", "jpg", "image_bytes", "bytes", "png")


class Images(Protocol):
    """Encoded images by name; `places` says where they come from."""

    places: Sequence[str]

    def read(self, name: str) -> bytes:
        """Encoded bytes of an image; raises PairsiftError if it cannot be had."""


class ImageStore:
    """Images of one or several places; a name is found wherever it is.

    A name matches a stored path as a whole, or by its last part, or by its last part without the
    extension, in this order. Bytes are not decoded here: a scorer does, with its own guards.

    Raises:
        PairsiftError: a place cannot be opened.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places: Sequence[str] = list(places)
        self._shelves = [_open_shelf(place) for place in places]
        self._found: dict[str, tuple[_Shelf, Any]] = {}
        ambiguous: set[str] = set()
        entries = [(path, shelf) for shelf in self._shelves for path in shelf.entries]
        for shorten in (lambda path: path, _base, _stem):
            # A later, shorter spelling never hides an earlier one, nor guesses between two.
            spelled: dict[str, tuple[_Shelf, Any]] = {}
            for path, shelf in entries:
                name = shorten(path)
                if name in spelled and name not in self._found:
                    ambiguous.add(name)
                spelled[name] = (shelf, shelf.entries[path])
            self._found = spelled | self._found
        self._ambiguous = ambiguous

    def __len__(self) -> int:
        return sum(len(shelf.entries) for shelf in self._shelves)

    def find(self, name: str) -> tuple[_Shelf, Any] | None:
        """Where an image is; None if it is nowhere.

        Raises:
            PairsiftError: two images go by that name.
        """
        for spelling in (name, _base(name), _stem(name)):
            if spelling in self._found:
                if spelling in self._ambiguous:
                    raise PairsiftError(
                        f"{', '.join(self.places)} hold more than one image named {spelling}"
                    )
                return self._found[spelling]
        return None

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are nowhere, in order."""
        return [name for name in names if self.find(name) is None]

    def read(self, name: str) -> bytes:
        """Encoded bytes of an image.

        Raises:
            PairsiftError: it is nowhere, or cannot be read.
        """
        found = self.find(name)
        if found is None:
            raise PairsiftError(f"no image {name} in {', '.join(self.places)}")
        shelf, place = found
        try:
            return shelf.read(place)
        except (OSError, tarfile.TarError) as error:
            raise PairsiftError(f"cannot read {name} from {shelf.url}: {error}") from error


class _Shelf(abc.ABC):
    """One place. `entries` maps a path to whatever `read` needs to find it again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.entries: dict[str, Any] = {}

    @abc.abstractmethod
    def read(self, place: Any) -> bytes: ...


class _TarShelf(_Shelf):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._file = fsspec.open(url, "rb").open()
        self._tar = tarfile.open(fileobj=self._file)  # noqa: SIM115 - lives as long as the store
        members = {m.name.removeprefix("./"): m for m in self._tar if m.isfile()}
        self.entries = _only_images(members)

    def read(self, place: tarfile.TarInfo) -> bytes:
        member = self._tar.extractfile(place)
        return member.read() if member is not None else b""


class _FolderShelf(_Shelf):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        folder = Folder(url)
        self._fs = folder.fs
        start = len(folder.path.rstrip("/")) + 1
        self.entries = _only_images({p[start:]: p for p in folder.fs.find(folder.path)})

    def read(self, place: str) -> bytes:
        content: bytes = self._fs.cat_file(place)
        return content


class _ParquetShelf(_Shelf):
    def __init__(self, url: str) -> None:
        import pyarrow.parquet as pq

        super().__init__(url)
        self._parquet = pq.ParquetFile(fsspec.open(url, "rb").open())
        self._image, self._struct = self._image_column()
        names = self._name_column()
        self._group: tuple[int, Any] = (-1, None)
        for group in range(self._parquet.num_row_groups):
            column = self._parquet.read_row_group(group, columns=[names])[names.split(".")[0]]
            for row, value in enumerate(column.to_pylist()):
                name = value.get("path") if isinstance(value, dict) else value
                if name:
                    self.entries[str(name)] = (group, row)

    def _image_column(self) -> tuple[str, bool]:
        import pyarrow as pa

        schema = self._parquet.schema_arrow
        for name in (*BYTES_COLUMNS, *schema.names):
            if name not in schema.names:
                continue
            kind = schema.field(name).type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return name, False
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                return name, True
        raise PairsiftError(f"{self.url} has no column of image bytes: {', '.join(schema.names)}")

    def _name_column(self) -> str:
        for name in NAME_COLUMNS:
            if name in self._parquet.schema_arrow.names:
                return name
        if self._struct:
            return f"{self._image}.path"
        raise PairsiftError(
            f"{self.url} has no column with image names; one of {', '.join(NAME_COLUMNS)} is needed"
        )

    def read(self, place: tuple[int, int]) -> bytes:
        group, row = place
        if self._group[0] != group:
            column = self._parquet.read_row_group(group, columns=[self._image])[self._image]
            self._group = (group, column)
        value = self._group[1][row].as_py()
        content = value.get("bytes") if self._struct and value else value
        return content or b""


def _open_shelf(url: str) -> _Shelf:
    lower = url.lower()
    kind: type[_Shelf] = _FolderShelf
    if lower.endswith((".tar", ".tar.gz", ".tgz")):
        kind = _TarShelf
    elif lower.endswith(".parquet"):
        kind = _ParquetShelf
    try:
        shelf = kind(url)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise PairsiftError(f"cannot open images at {url}: {error}") from error
    if not shelf.entries:
        raise PairsiftError(f"{url} holds no images; give a folder, a .tar or a .parquet file")
    return shelf


def _only_images(entries: dict[str, Any]) -> dict[str, Any]:
    """Entries that look like images; captions and metadata that lie beside them are passed over."""
    images = {p: place for p, place in entries.items() if is_image_name(p)}
    return images or entries


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _stem(path: str) -> str:
    return os.path.splitext(_base(path))[0]
