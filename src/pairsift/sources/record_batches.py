"""Samples in Arrow record batches, for parquet and Arrow files alike."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar

import pyarrow as pa

from pairsift.captions import decode_caption
from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status, Texts
from pairsift.sources.arrow_values import plain
from pairsift.sources.base import (
    LISTS,
    MOSTLY,
    Shard,
    ShardReader,
    any_text,
    declared_failure,
    printable,
    valid_uid,
)
from pairsift.sources.columns import (
    IMAGE_BYTES_COLUMNS,
    IMAGE_NAME_COLUMNS,
    KEY_COLUMNS,
    POOL_CAPTION_COLUMNS,
)
from pairsift.sources.fields import (
    EVERY,
    Items,
    NoFieldError,
    Step,
    follow,
    join_steps,
    leaves,
    list_names,
    values_at,
)
from pairsift.sources.image_paths import AHEAD, ImagePaths, in_order, shown

BATCH_ROWS = 16
ROW_DIGITS = 9
_MOST_TYPE = 60
# Last parts of paths that users probably mean.
_LIKELY = {*map(str.lower, (*IMAGE_BYTES_COLUMNS, *POOL_CAPTION_COLUMNS)), "value", "content", "en"}
_MISSING = {Status.IMAGE_MISSING: "image", Status.CAPTION_MISSING: "caption"}


class BatchReader(ShardReader):
    """Makes pairs of the rows of record batches; a subclass reads the batches.

    - Image: option `image`, else the first of `IMAGE_BYTES_COLUMNS`, else the only column of a
      suitable type. Suitable are binary types, and a struct with ``bytes`` (and ``path``) as
      Hugging Face's ``Image`` feature writes it; if the option names it, also text.
    - Text is base64, or the path of a file: with the option `image_root`, and if it ends like the
      name of an image. So is a ``path`` whose ``bytes`` are null. Paths are relative to the shard's
      folder, or to `image_root`. With that option, a table without bytes may have one of
      `IMAGE_NAME_COLUMNS`.
    - Caption: option `caption`, else the first of `POOL_CAPTION_COLUMNS`; text, or binary if the
      option names it.
    - Both options are paths into the columns: ``sample.image``, ``captions.0`` (see
      :mod:`pairsift.sources.fields`).
    - Key: the first of `KEY_COLUMNS`, else the row's number in nine digits. uid: column ``uid``,
      or ``uid`` of a ``json`` struct. All other columns are metadata.
    - img2dataset's failed rows are ``source_failed``, with its reason.
    - `problem` reports what most rows lack.
    """

    options: ClassVar[frozenset[str]] = frozenset(
        {"caption", "image", "image_root", "max_image_bytes"}
    )

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._image: str | None = options.get("image")
        self._caption: str | None = options.get("caption")
        self._lists = bool(options.get(LISTS))
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))
        self._root: str | None = options.get("image_root")
        folder = shard.url.rpartition("/")[0]
        self._paths = ImagePaths(folder, self._root, self._max_image_bytes)
        self._begin()

    def _begin(self) -> None:
        """Forget the rows of an earlier reading."""
        self.problem = None
        self.notes.clear()
        self._seen: set[str] = set()
        self._missing: Counter[Status] = Counter()
        self._first: dict[Status, str] = {}

    def _layout(self, schema: pa.Schema) -> Layout:
        return Layout(
            schema,
            self._image,
            self._caption,
            self.shard.url,
            self._lists,
            paths=self._root is not None,
        )

    def _pairs(self, layout: Layout, batch: pa.RecordBatch, first_row: int) -> Iterator[Pair]:
        """Yield the pairs of a batch, of which `first_row` is the first row's number."""
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            for pair in self._part(layout, part, first_row + start):
                yield self._once(pair)

    def _part(self, layout: Layout, batch: pa.RecordBatch, first_row: int) -> Iterator[Pair]:
        rows = [
            {name: plain(batch.column(place)[index], without)
             for name, place, without in layout.others}
            for index in range(batch.num_rows)
        ]  # fmt: skip

        def read(index: int) -> bytes | Fault:
            return self._read_image(next(layout.image.find(batch, index)), rows[index])

        ahead = AHEAD if self._paths.remote and layout.has_paths else 0
        for index, image in in_order(range(batch.num_rows), read, ahead):
            metadata = rows[index]
            caption = self._read_captions(
                layout.caption.find(batch, index), len(layout.caption.steps) > 1
            )
            if isinstance(image, Fault):
                self._note(image)
            key = next((metadata[name] for name in layout.keys if metadata[name] is not None), None)
            yield Pair(
                key=f"{first_row + index:0{ROW_DIGITS}}" if key is None else printable(str(key)),
                image=None if isinstance(image, Fault) else image,
                caption=caption if isinstance(caption, str) else None,
                shard=self.shard.name,
                uid=_uid(metadata),
                metadata=metadata,
                fault=next((part for part in (image, caption) if isinstance(part, Fault)), None),
                captions=caption if isinstance(caption, tuple) else None,
            )

    def _note(self, fault: Fault) -> None:
        """Count what a row lacks."""
        if fault.status in _MISSING:
            self._missing[fault.status] += 1
            self._first.setdefault(fault.status, fault.error)

    def _once(self, pair: Pair) -> Pair:
        if pair.key not in self._seen:
            self._seen.add(pair.key)
            return pair
        fault = Fault(Status.DUPLICATE_KEY, "an earlier row has this key")
        return Pair(pair.key, None, pair.caption, pair.shard, pair.uid, pair.metadata, fault)

    def _unread(self, rows: Iterable[tuple[int, Any, Any]], why: str) -> Iterator[Pair]:
        """Yield rows that cannot be read, each given as its number and what its key and uid hold.

        They do not make a later row with the same key a duplicate.
        """
        for number, key, uid in rows:
            yield Pair(
                key=f"{number:0{ROW_DIGITS}}" if key is None else printable(str(key)),
                image=None,
                caption=None,
                shard=self.shard.name,
                uid=valid_uid(uid),
                fault=Fault(Status.READ_ERROR, f"row {number}, {printable(why)}"),
            )

    def _lacking(self) -> Iterator[str]:
        """Say what most rows lack."""
        rows = len(self._seen)
        for status, words in _MISSING.items():
            count = self._missing[status]
            if count > MOSTLY * rows:
                share = "all" if count == rows else f"{count:,} of"
                yield f"{share} {rows:,} rows have no {words} ({self._first[status]})"

    def _read_image(self, value: pa.Scalar | str, metadata: Mapping[str, Any]) -> bytes | Fault:
        if isinstance(value, pa.Scalar) and pa.types.is_struct(value.type):
            names = [field.name for field in value.type]
            path = _text(value["path"]) if "path" in names else None
            value = value["bytes"] if value["bytes"].is_valid else "the image is null"
            if isinstance(value, str) and path:
                return declared_failure(metadata) or self._from_path(path)
        if isinstance(value, str):
            return declared_failure(metadata) or Fault(Status.IMAGE_MISSING, printable(value))
        if _is_text(value.type) and self._is_path(text := _text(value) or ""):
            return declared_failure(metadata) or self._from_path(text)
        size = value.as_buffer().size
        if size > self._max_image_bytes * (2 if _is_text(value.type) else 1):
            return Fault(
                Status.IMAGE_TOO_LARGE,
                f"{size:,} bytes; the limit is {self._max_image_bytes:,}",
            )
        data: bytes = value.as_buffer().to_pybytes()
        return _from_base64(data) if _is_text(value.type) else data

    def _is_path(self, text: str) -> bool:
        return self._root is not None or is_image_name(text)

    def _from_path(self, path: str) -> bytes | Fault:
        found = self._paths.read(path)
        if isinstance(found, Fault):
            why = f"only the path {shown(path)} is stored, not the image: {found.error}"
            return Fault(found.status, why)
        return found

    def _read_captions(
        self, values: Iterator[pa.Scalar | str], nested: bool
    ) -> str | Fault | Texts | None:
        texts = tuple(
            Fault(Status.CAPTION_MISSING, printable(value))
            if isinstance(value, str)
            else decode_caption(value.as_buffer().to_pybytes())
            for value in values
        )
        best = any_text(texts)
        if isinstance(best, Fault) and best.status is Status.CAPTION_MISSING:
            self._note(best)
            if not nested:
                return None
        return texts if len(texts) > 1 else texts[0]


def _text(value: pa.Scalar) -> str | None:
    """Return a text as a name of a file, which may hold any bytes."""
    if not value.is_valid:
        return None
    if not _is_text(value.type):
        return str(value.as_py())
    data: bytes = value.as_buffer().to_pybytes()
    return data.decode("utf-8", "surrogateescape")


def _from_base64(text: bytes) -> bytes | Fault:
    head, comma, encoded = text.partition(b";base64,")
    try:
        return base64.b64decode(b"".join((encoded if comma else head).split()), validate=True)
    except ValueError:
        start = printable(text[:60].decode("utf-8", "replace"))
        return Fault(
            Status.IMAGE_MISSING,
            f"{start!r} is neither base64 nor the name of an image; if it is a path, give the "
            "folder of the images with --image-root; URLs are not downloaded",
        )


class _Struct(dict[str, Any]):
    """Fields of a struct type, or columns of a schema; `kind` is the type itself."""

    kind: pa.DataType | None = None


class _List(Items):
    kind: pa.DataType


def _shape(kind: pa.DataType) -> Any:
    """Return a type in the form that :func:`~pairsift.sources.fields.follow` walks through."""
    bare = _bare(kind)
    if pa.types.is_struct(bare):
        struct = _Struct((field.name, _shape(field.type)) for field in bare)
        struct.kind = bare
        return struct
    if _is_list(bare):
        items = _List(_shape(bare.value_type))
        items.kind = bare
        return items
    return bare


def _bare(kind: pa.DataType) -> pa.DataType:
    """Return the type inside dictionary and extension types."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a row a value is: the number of its column, and the steps inside it."""

    column: int
    steps: tuple[Step, ...]

    def find(self, batch: pa.RecordBatch, row: int) -> Iterator[pa.Scalar | str]:
        """Yield the value, or in words why there is none; of lists all, where a step says so."""
        yield from _find(_unwrapped(batch.column(self.column)[row]), self.steps, 1)


def _find(scalar: pa.Scalar, steps: tuple[Step, ...], taken: int) -> Iterator[pa.Scalar | str]:
    where = join_steps(steps[:taken])
    if not scalar.is_valid:
        yield f"{where} is null"
    elif taken == len(steps):
        yield scalar
    elif isinstance(scalar, pa.StructScalar):
        yield from _find(_unwrapped(scalar[str(steps[taken])]), steps, taken + 1)
    elif (step := steps[taken]) == EVERY:
        items = scalar.values
        for number in range(len(items)):
            here = (*steps[:taken], number, *steps[taken + 1 :])
            yield from _find(_unwrapped(items[number]), here, taken + 1)
        if not len(items):
            yield f"{where} is an empty list"
    else:
        items = scalar.values
        if -len(items) <= int(step) < len(items):
            yield from _find(_unwrapped(items[int(step) % len(items)]), steps, taken + 1)
        else:
            yield f"{where} is a list of {len(items)}, with no item {step}"


def _unwrapped(scalar: pa.Scalar) -> pa.Scalar:
    while isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
        scalar = scalar.value if scalar.is_valid else pa.scalar(None)
    return scalar


class Layout:
    """Which columns hold what.

    Args:
        paths: whether a column of paths may be taken for the image, if there are no bytes.

    Raises:
        PairsiftError: there is no image or caption column, or it has a wrong type.
    """

    def __init__(
        self,
        schema: pa.Schema,
        image: str | None,
        caption: str | None,
        url: str,
        lists: bool,
        paths: bool = False,
    ) -> None:
        self._lists = lists
        self._schema = schema
        self._url = url
        self._columns = _Struct()
        self._numbers: dict[str, int] = {}
        for number, column in enumerate(schema):  # of two columns with the same name, the first
            self._columns.setdefault(column.name, _shape(column.type))
            self._numbers.setdefault(column.name, number)
        self.image = self._named("image", image) if image else self._usual_image(paths)
        self.caption = self._named("caption", caption) if caption else self._usual_caption()
        inside = _up_to_list(self.image.steps)
        self.others = [
            (name, number, inside[1:] if name == inside[0] else ())
            for name, number in self._numbers.items()
            if (name,) not in (inside, self.caption.steps)
        ]
        names = {name for name, *_ in self.others}
        self.keys = [name for name in KEY_COLUMNS if name in names]
        self.uid = "uid" if "uid" in names else None
        for name in (self.image.steps[0], self.caption.steps[0], *self.keys[:1], self.uid):
            if name and (count := schema.names.count(name)) > 1:
                raise PairsiftError(f"{url} has {count} columns named {name!r}; rename all but one")

    def _place(self, steps: tuple[Step, ...]) -> _Place:
        return _Place(self._numbers[str(steps[0])], steps)

    def _named(self, what: str, path: str) -> _Place:
        option = f"{self._url}: --{what}-field {path}"
        try:
            if what == "caption" and self._lists:
                ((steps, found),) = values_at(self._columns, path, lists=True)
                if isinstance(found, NoFieldError):
                    raise found
            else:
                steps, found = follow(self._columns, path)
        except NoFieldError as error:
            raise PairsiftError(f"{option}: {error}{self._hint(what)}") from None
        kind = _kind_of(found)
        if what == "image" and (_holds_images(kind) or _is_text(kind)):
            return self._place(steps)
        if what == "caption" and (_is_text(kind) or _is_binary(kind)):
            return self._place(steps)
        needed = (
            "image bytes, a struct with them, base64 text or a path" if what == "image" else "text"
        )
        raise PairsiftError(f"{option} is {kind}, but {needed} is expected{self._hint(what, path)}")

    def _usual(self, names: Sequence[str], fits: Callable[[pa.DataType], bool]) -> _Place | None:
        lower = {name.lower(): name for name in reversed(self._columns)}
        for name in [*names, *(lower.get(name.lower(), name) for name in names)]:
            if name in self._columns and fits(_kind_of(self._columns[name])):
                return self._place((name,))
        return None

    @property
    def has_paths(self) -> bool:
        """Whether images may be files that the rows name."""
        return not _is_binary(_bare(self._schema.field(self.image.column).type))

    def _usual_image(self, paths: bool) -> _Place:
        fitting = [name for name in self._columns if _holds_images(_kind_of(self._columns[name]))]
        found = self._usual(IMAGE_BYTES_COLUMNS, _holds_images)
        if found is not None:
            return found
        if len(fitting) == 1:
            return self._place((fitting[0],))
        if paths and not fitting:
            named = self._usual(IMAGE_NAME_COLUMNS, _is_text)
            if named is not None:
                return named
        hint = self._hint("image")
        if not fitting and not hint and {"url", "status"} <= set(self._columns):
            hint = "; img2dataset writes such metadata beside its tars: give the tars"
        texts = self._usual((*IMAGE_BYTES_COLUMNS, *IMAGE_NAME_COLUMNS), _is_text)
        if not hint and texts is not None:
            name = texts.steps[0]
            hint = (
                f"; if {name} is base64, give --image-field {name}; if it holds paths, give "
                "--image-root FOLDER; if it holds URLs, download the images first"
            )
        raise PairsiftError(
            f"{self._url} has no column of image bytes; its columns are: {self._listed()}"
            + (hint or "; name it with --image-field")
        )

    def _usual_caption(self) -> _Place:
        found = self._usual(POOL_CAPTION_COLUMNS, _is_text)
        if found is not None:
            return found
        raise PairsiftError(
            f"{self._url} has no text column {' or '.join(POOL_CAPTION_COLUMNS)}; its columns are: "
            + self._listed()
            + (self._hint("caption") or "; name the right one with --caption-field")
        )

    def _listed(self) -> str:
        return list_names(
            f"{name} ({str(kind)[:_MOST_TYPE]}{'...' if len(str(kind)) > _MOST_TYPE else ''})"
            for name, kind in zip(self._schema.names, self._schema.types, strict=True)
        )

    def _hint(self, what: str, below: str = "") -> str:
        """Return paths to values of the right type, and the option for them."""
        fits = _holds_images if what == "image" else _is_text
        taken = getattr(self, "image", None)
        inside = join_steps(_up_to_list(taken.steps)) if taken else None
        paths = [
            path.removesuffix(".bytes")
            for path, kind in leaves(self._columns)
            if fits(kind) and not (what == "caption" and path.endswith(".path"))
        ]
        if inside is not None:
            paths = [path for path in paths if not f"{path}.".startswith(f"{inside}.")]
        paths = [path for path in paths if path.startswith(below.rstrip(f".{EVERY}"))] or paths
        if not paths:
            return ""
        likely = (path for path in paths if path.lower().rpartition(".")[2] in _LIKELY)
        best = next(likely, paths[0])
        every = re.sub(r"\.0\b", f".{EVERY}", best, count=1)
        is_list = what == "caption" and every != best
        each = f", or '{every}' for a row of each" if is_list else ""
        if best.endswith((".0.value", ".0.content")):  # for a conversation, the answer
            best = best.replace(".0.", ".1.")
        shown = list_names(paths)
        counted = " (0 is the first)" if re.search(r"\b0\b", shown) else ""
        words = "image bytes are" if what == "image" else "text is"
        quoted = f"'{best}'" if " " in best or '"' in best else best
        option = f"--{what}-field {quoted}{each}"
        return f"; {words} at {shown}{counted}: give one, for example {option}"


def _up_to_list(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps before the first index into a list."""
    return tuple(takewhile(lambda step: isinstance(step, str), steps))


def _kind_of(found: Any) -> pa.DataType:
    return found.kind if isinstance(found, _Struct | _List) else found


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(
            field.name == "bytes" and (_is_binary(field.type) or pa.types.is_null(field.type))
            for field in kind
        )
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    kind = _bare(kind)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)  # the shard has not a single caption
    )


def _uid(metadata: dict[str, Any]) -> str | None:
    nested = metadata.get("json")
    return valid_uid(metadata.get("uid")) or (
        valid_uid(nested.get("uid")) if isinstance(nested, dict) else None
    )
