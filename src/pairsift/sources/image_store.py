"""Encoded images by name, from folders, tars and parquet files: one lookup for every command.

A name matches a stored image with the same file name; if there is none, the extension is ignored,
then case. Of several images, the one with the longest common end of the path is taken; if two are
equal in that, it is an error. It is also an error if the image's folder differs from the one in the
name: ``val2017/3.jpg`` never returns ``train2017/3.jpg``.
"""

from __future__ import annotations

import abc
import posixpath
import re
import tarfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.sources import files
from pairsift.sources.base import printable
from pairsift.sources.columns import IMAGE_BYTES_COLUMNS, IMAGE_NAME_COLUMNS
from pairsift.sources.parquet_column import ParquetColumn

Place = TypeVar("Place")

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_SPLIT = re.compile(r"(train|val|test|dev)", re.IGNORECASE)
_ROW_DIGITS = 9


class OtherFolderError(PairsiftError):
    """An image has the requested file name but is in another folder than the name says."""


class Images(Protocol):
    """Encoded images by name; `places` says where they come from."""

    places: Sequence[str]

    def read(self, name: str) -> bytes:
        """Return the encoded bytes of an image; raises PairsiftError if it cannot be read."""


@dataclass(frozen=True, slots=True)
class _Stored(Generic[Place]):
    """A path as parts below `above`, the path parts of its folder or archive."""

    parts: tuple[str, ...]
    above: tuple[str, ...]
    place: Place

    def shown(self) -> str:
        return "/".join((*self.above[-1:], *self.parts))


class NameIndex(Generic[Place]):
    """Finds stored paths by names that may be longer or shorter than the paths.

    Args:
        option: the user's option for the places, for errors.
    """

    def __init__(self, option: str = "--images") -> None:
        self._option = option
        self._stored: list[_Stored[Place]] = []
        self._tables: dict[int, dict[str, list[_Stored[Place]]]] = {}

    def __len__(self) -> int:
        return len(self._stored)

    def add(self, path: str, place: Place, above: str = "") -> None:
        """Store a path.

        Args:
            place: what `find` returns.
            above: the folder or archive where the path begins; names may include its parts.
        """
        self._stored.append(_Stored(_parts(path), _parts(above), place))
        self._tables.clear()

    def find(self, name: str) -> Place | None:
        """Return the place of the stored path that fits best; None if none has that file name.

        Raises:
            OtherFolderError: the only image with that file name is in another folder.
            PairsiftError: two fit equally well.
        """
        try:
            found = self._find(name, _parts(name))
        except OtherFolderError:
            if "\\" not in name:
                raise
            found = None
        if found is None and "\\" in name:  # Windows paths
            found = self._find(name, _parts(name.replace("\\", "/")))
        return found

    def _find(self, name: str, asked: tuple[str, ...]) -> Place | None:
        if not asked:
            return None
        elsewhere: _Stored[Place] | None = None
        for level, (fold, _, of_asked) in enumerate(_SPELLINGS):
            folded = tuple(map(fold, asked))
            fitting: list[tuple[tuple[int, bool], _Stored[Place]]] = []
            for stored in self._table(level).get(of_asked(folded[-1]), ()):
                shared = _shared(stored, folded, fold)
                if shared is None:
                    elsewhere = elsewhere or stored
                else:
                    fitting.append(((shared, stored.parts == asked), stored))
            if fitting:
                best = max(fit for fit, _ in fitting)
                first, *others = [stored for fit, stored in fitting if fit == best]
                if others:
                    raise PairsiftError(
                        f"{printable(name)!r} matches more than one image: {first.shown()} and "
                        f"{others[0].shown()}; give more of the path, or another {self._option}"
                    )
                return first.place
        if elsewhere is not None:
            raise OtherFolderError(
                f"{printable(name)!r} was not found; {elsewhere.shown()} has the same file name "
                f"but is in another folder. If it is the same image, give that folder with "
                f"{self._option}"
            )
        return None

    def _table(self, level: int) -> dict[str, list[_Stored[Place]]]:
        if level not in self._tables:
            fold, of_stored, _ = _SPELLINGS[level]
            table: dict[str, list[_Stored[Place]]] = {}
            for stored in self._stored:
                if stored.parts:
                    table.setdefault(of_stored(fold(stored.parts[-1])), []).append(stored)
            self._tables[level] = table
        return self._tables[level]


def _same(text: str) -> str:
    return text


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _image_stem(name: str) -> str:
    """Return a name without an image's extension; ``b.c`` has none."""
    return _stem(name) if is_image_name(name) else name


# How names are compared, strictest first: case folding of every part, then the stored file name
# and the requested one, with or without extension.
_Spell = Callable[[str], str]
_SPELLINGS: tuple[tuple[_Spell, _Spell, _Spell], ...] = tuple(
    (fold, of_stored, of_asked)
    for fold in (_same, _folded)
    for of_stored, of_asked in ((_same, _same), (_stem, _same), (_stem, _image_stem))
)


def _parts(path: str) -> tuple[str, ...]:
    parts = [part for part in printable(path).split("/") if part not in ("", ".")]
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
    return tuple(kept)


def _shared(stored: _Stored[Any], asked: Sequence[str], fold: _Spell) -> int | None:
    """Return how many folders at the end of both paths are the same; None if they contradict."""
    below = len(stored.parts) - 1
    folders = [*stored.above, *stored.parts[:-1]]
    for count, (theirs, ours) in enumerate(
        zip(reversed(folders), reversed(asked[:-1]), strict=False)
    ):
        if fold(theirs) != ours:
            # A place may have any name except that of another split.
            splits = [match[1].lower() for n in (theirs, ours) if (match := _SPLIT.search(n))]
            return None if count < below or len(set(splits)) == 2 else count
    return min(len(folders), len(asked) - 1)


class ImageStore:
    """Images of one or several places; a name is found in any of them (see the module).

    Images are not decoded here: a scorer does that, with its own limits.

    Args:
        places: tars and parquet files, folders of images, and folders of tars or parquet files;
            paths or fsspec URLs.

    Raises:
        PairsiftError: a place cannot be opened.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places: Sequence[str] = list(places)
        self._index: NameIndex[tuple[_ImageSource, Any]] = NameIndex()
        for source in (source for place in places for source, _ in _sources(place, both=False)):
            for path, entry in source.entries.items():
                self._index.add(path, (source, entry), source.above)

    def __len__(self) -> int:
        return len(self._index)

    def find(self, name: str) -> tuple[_ImageSource, Any] | None:
        """Return where an image is; None if no place has it.

        Raises:
            OtherFolderError: an image has that file name but is in another folder.
            PairsiftError: two images match that name.
        """
        return self._index.find(name)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those of `names` that no place has, or only in another folder, in order."""
        return [name for name in names if not self.has(name)]

    def has(self, name: str) -> bool:
        """Return whether an image is there, not just one with that file name in another folder."""
        try:
            return self.find(name) is not None
        except OtherFolderError:
            return False

    def why_missing(self, name: str) -> str:
        """Say in words why a name was not found."""
        try:
            self.find(name)
        except OtherFolderError as error:
            return str(error)
        return f"{printable(name)!r} was not found"

    def read(self, name: str) -> bytes:
        """Return the encoded bytes of an image.

        Raises:
            PairsiftError: no place has it, or it cannot be read.
        """
        found = self.find(name)
        if found is None:
            raise PairsiftError(f"image {printable(name)} not found in {', '.join(self.places)}")
        source, place = found
        try:
            return source.read(place)
        except (OSError, tarfile.TarError) as error:
            raise PairsiftError(f"cannot read {name} from {source.url}: {error}") from error


class _ImageSource(abc.ABC):
    """One place. `entries` maps a path to what `read` needs to find the image again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.above = url  # folders that names may have before the paths
        self.entries: dict[str, Any] = {}

    @abc.abstractmethod
    def read(self, place: Any) -> bytes: ...


class _TarSource(_ImageSource):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.above = _without_extension(url)
        self._tar = tarfile.open(fileobj=files.open_file(url))  # noqa: SIM115 - lives as long as the store
        members = {m.name.removeprefix("./"): m for m in self._tar if m.isfile()}
        self.entries = _only_images(members)

    def read(self, place: tarfile.TarInfo) -> bytes:
        member = self._tar.extractfile(place)
        return member.read() if member is not None else b""


class _FolderSource(_ImageSource):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        start = len(url.rstrip("/")) + 1
        self.entries = _only_images({entry.url[start:]: entry.url for entry in files.walk(url)})

    def read(self, place: str) -> bytes:
        with files.open_file(place) as file:
            return file.read()


class _ParquetSource(_ImageSource):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.above = _without_extension(url)
        self._values = ParquetColumn(url, "")
        self._parquet = self._values.file
        self._values.column, self._struct = self._image_column()
        self.entries = dict(self._names())

    def _names(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield names (from a column, the path beside the bytes, or numbers) and positions."""
        column = self._name_column()
        first = 0
        for group in range(self._parquet.num_row_groups):
            rows = self._parquet.metadata.row_group(group).num_rows
            names: list[Any] = [None] * rows
            if column is not None:
                read = self._parquet.read_row_group(group, columns=[column])
                names = read[column.split(".")[0]].to_pylist()
            for row, value in enumerate(names):
                name = value.get("path") if isinstance(value, dict) else value
                if name is None or name == "":
                    name = f"{first + row:0{_ROW_DIGITS}}"  # as a parquet source's keys
                yield str(name), (group, row)
            first += rows

    def _image_column(self) -> tuple[str, bool]:
        import pyarrow as pa

        schema = self._parquet.schema_arrow
        for name in (*IMAGE_BYTES_COLUMNS, *schema.names):
            if name not in schema.names:
                continue
            kind = schema.field(name).type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return name, False
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                return name, True
        raise PairsiftError(f"{self.url} has no column of image bytes: {', '.join(schema.names)}")

    def _name_column(self) -> str | None:
        import pyarrow as pa

        schema = self._parquet.schema_arrow
        for name in IMAGE_NAME_COLUMNS:
            if name in schema.names and (
                pa.types.is_string(schema.field(name).type)
                or pa.types.is_large_string(schema.field(name).type)
                or pa.types.is_integer(schema.field(name).type)
            ):
                return name
        has_path = (
            self._struct and schema.field(self._values.column).type.get_field_index("path") >= 0
        )
        return f"{self._values.column}.path" if has_path else None

    def read(self, place: tuple[int, int]) -> bytes:
        value = self._values[place]
        content = value.get("bytes") if self._struct and value else value
        return content or b""


def each_image(place: str) -> Iterator[tuple[str, bytes]]:
    """Name and encoded bytes of every image of a folder, a tar or a parquet file, as stored.

    Args:
        place: path or fsspec URL. A folder holds images and tars of images; if it has neither,
            parquet files of images.

    Raises:
        PairsiftError: it cannot be opened or read, or holds no image.
    """
    for source, above in _sources(place, both=True):
        for name, entry in source.entries.items():
            try:
                yield printable(above + name), source.read(entry)
            except (OSError, tarfile.TarError) as error:
                raise PairsiftError(f"cannot read {name} from {source.url}: {error}") from error


def _sources(place: str, *, both: bool) -> Iterator[tuple[_ImageSource, str]]:
    """Yield a place, or what a folder holds, with the path of this in the folder.

    Args:
        both: of a folder with images and tars, yield both; else only the images.
    """
    url = files.normalise(place)
    found = (
        []
        if url.lower().endswith((*_TARS, ".parquet"))
        else [entry.url for entry in files.walk(url)]
    )
    tars = [path for path in found if path.lower().endswith(_TARS)]
    images = any(map(is_image_name, found))
    if images:
        packed = tars if both else []
    else:
        packed = tars or [path for path in found if path.lower().endswith(".parquet")]
    if images or not packed:
        yield _open_source(place), ""
    for path in sorted(packed):
        yield _open_source(path), f"{path[len(url.rstrip('/')) + 1 :]}/"


def _open_source(place: str) -> _ImageSource:
    url = files.normalise(place)
    lower = url.lower()
    kind: type[_ImageSource] = _FolderSource
    if lower.endswith(_TARS):
        kind = _TarSource
    elif lower.endswith(".parquet"):
        kind = _ParquetSource
    try:
        source = kind(url)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise PairsiftError(f"cannot open images at {place}: {error}") from error
    if not source.entries:
        raise PairsiftError(f"{place} holds no images; give a folder, a .tar or a .parquet file")
    return source


def _without_extension(url: str) -> str:
    ending = next((e for e in (*_TARS, ".parquet") if url.lower().endswith(e)), "")
    return url[: len(url) - len(ending)]


def _only_images(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that look like images; captions and metadata beside them are skipped."""
    images = {path: place for path, place in entries.items() if is_image_name(path)}
    return images or entries
