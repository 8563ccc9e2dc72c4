"""Parquet files that carry image bytes: img2dataset's and Hugging Face's layouts."""

from __future__ import annotations

import base64
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.captions import decode_caption
from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status, Texts
from pairsift.printable import first_line
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
from pairsift.sources.columns import IMAGE_BYTES_COLUMNS, KEY_COLUMNS, POOL_CAPTION_COLUMNS
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
from pairsift.sources.files import open_file

_BATCH_ROWS = 16
_ROW_DIGITS = 9
_MOST_TYPE = 60
# Last parts of paths that users probably mean.
_LIKELY = {*map(str.lower, (*IMAGE_BYTES_COLUMNS, *POOL_CAPTION_COLUMNS)), "value", "content", "en"}
_MISSING = {Status.IMAGE_MISSING: "image", Status.CAPTION_MISSING: "caption"}


class ParquetReader(ShardReader):
    """Reads a parquet file in small batches, so that memory depends on neither file nor row group.

    - Image: option `image`, else the first of `IMAGE_BYTES_COLUMNS`, else the only column of a
      suitable type. Suitable are binary types, and a struct with ``bytes`` (and ``path``) as
      Hugging Face's ``Image`` feature writes it; if the option names it, also base64 text.
    - Caption: option `caption`, else the first of `POOL_CAPTION_COLUMNS`; text, or binary if the
      option names it.
    - Both options are paths into the columns: ``sample.image``, ``captions.0`` (see
      :mod:`pairsift.sources.fields`).
    - Key: the first of `KEY_COLUMNS`, else the row's number in nine digits. uid: column ``uid``,
      or ``uid`` of a ``json`` struct. All other columns are metadata.
    - img2dataset's failed rows are ``source_failed``, with its reason.
    - Every row of the file is a pair. Rows of unreadable row groups are ``read_error``, with their
    key
      or, if that cannot be read either, the row's number. `problem` reports them too, and also what
      most rows lack.
    """

    kind: ClassVar[str] = "parquet"
    extensions: ClassVar[tuple[str, ...]] = (".parquet",)
    options: ClassVar[frozenset[str]] = frozenset({"caption", "image", "max_image_bytes"})

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._image: str | None = options.get("image")
        self._caption: str | None = options.get("caption")
        self._lists = bool(options.get(LISTS))
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        self.notes.clear()
        self._missing: Counter[Status] = Counter()
        self._first: dict[Status, str] = {}
        with open_file(self.shard.url) as file:
            table = self._open(file)
            layout = _Layout(
                table.schema_arrow, self._image, self._caption, self.shard.url, self._lists
            )
            seen: set[str] = set()
            first_row = 0
            broken: list[str] = []
            for group in range(table.num_row_groups):
                row = first_row
                why = "it ends early"
                try:
                    for batch in table.iter_batches(
                        _BATCH_ROWS, row_groups=[group], use_threads=False
                    ):
                        for pair in self._pairs(layout, batch, row):
                            yield self._once(pair, seen)
                        row += batch.num_rows
                except (pa.ArrowException, OSError, ValueError) as error:
                    if isinstance(error, OSError) and error.errno:
                        raise  # the storage failed, not the data
                    why = first_line(error)[:300]
                begin, first_row = first_row, first_row + table.metadata.row_group(group).num_rows
                if row < first_row:
                    broken.append(f"row group {group} from row {row} on: {why}")
                    yield from self._unreadable(table, layout, group, begin, row, why)
        told = [f"{len(broken)} unreadable row groups; {broken[0]}"] if broken else []
        for status, words in _MISSING.items():
            count = self._missing[status]
            if count > MOSTLY * len(seen):
                share = "all" if count == len(seen) else f"{count:,} of"
                told.append(f"{share} {len(seen):,} rows have no {words} ({self._first[status]})")
        self.problem = "; ".join(told) or None

    def _open(self, file: Any) -> pq.ParquetFile:
        try:
            # Without pre-buffering, so that a column chunk of images is never in memory as a whole.
            return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise PairsiftError(
                f"{self.shard.url} is not a readable parquet file ({first_line(error)[:300]}); "
                "remove it, or download it again"
            ) from error

    def _unreadable(
        self, table: pq.ParquetFile, layout: _Layout, group: int, begin: int, row: int, why: str
    ) -> Iterator[Pair]:
        """Yield the rows of the row group that begins at `begin`, from an unreadable one on."""
        # Each column separately, because mostly only the images are damaged.
        keys, uids = (
            itertools.islice(
                itertools.chain(_values(table, group, name), itertools.repeat(None)),
                row - begin,
                table.metadata.row_group(group).num_rows,
            )
            for name in (next(iter(layout.keys), None), layout.uid)
        )
        for number, key, uid in zip(itertools.count(row), keys, uids, strict=False):
            # An unreadable row does not make a later row with the same key a duplicate.
            yield Pair(
                key=f"{number:0{_ROW_DIGITS}}" if key is None else printable(str(key)),
                image=None,
                caption=None,
                shard=self.shard.name,
                uid=valid_uid(uid),
                fault=Fault(
                    Status.READ_ERROR, f"row {number}, in row group {group}: {printable(why)}"
                ),
            )

    def _once(self, pair: Pair, seen: set[str]) -> Pair:
        if pair.key not in seen:
            seen.add(pair.key)
            return pair
        fault = Fault(Status.DUPLICATE_KEY, "an earlier row has this key")
        return Pair(pair.key, None, pair.caption, pair.shard, pair.uid, pair.metadata, fault)

    def _pairs(self, layout: _Layout, batch: pa.RecordBatch, first_row: int) -> Iterator[Pair]:
        for index in range(batch.num_rows):
            metadata = {
                name: _plain(batch.column(place)[index], without)
                for name, place, without in layout.others
            }
            image = self._read_image(next(layout.image.find(batch, index)), metadata)
            caption = self._read_captions(
                layout.caption.find(batch, index), len(layout.caption.steps) > 1
            )
            key = next((metadata[name] for name in layout.keys if metadata[name] is not None), None)
            yield Pair(
                key=printable(str(key))
                if key is not None
                else f"{first_row + index:0{_ROW_DIGITS}}",
                image=None if isinstance(image, Fault) else image,
                caption=caption if isinstance(caption, str) else None,
                shard=self.shard.name,
                uid=_uid(metadata),
                metadata=metadata,
                fault=next((part for part in (image, caption) if isinstance(part, Fault)), None),
                captions=caption if isinstance(caption, tuple) else None,
            )

    def _read_image(self, value: pa.Scalar | str, metadata: Mapping[str, Any]) -> bytes | Fault:
        declared = declared_failure(metadata)
        path = None
        if isinstance(value, pa.Scalar) and pa.types.is_struct(value.type):
            names = [field.name for field in value.type]
            path = value["path"].as_py() if "path" in names else None
            value = value["bytes"] if value["bytes"].is_valid else "the image is null"
        if isinstance(value, str):
            why = f"only the path {path!r} is stored, not the image" if path else value
            return declared or self._missed(Status.IMAGE_MISSING, why)
        size = value.as_buffer().size
        if size > self._max_image_bytes * (2 if _is_text(value.type) else 1):
            return Fault(
                Status.IMAGE_TOO_LARGE,
                f"{size:,} bytes; the limit is {self._max_image_bytes:,}",
            )
        data: bytes = value.as_buffer().to_pybytes()
        return self._from_base64(data) if _is_text(value.type) else data

    def _from_base64(self, text: bytes) -> bytes | Fault:
        head, comma, encoded = text.partition(b";base64,")
        try:
            return base64.b64decode(b"".join((encoded if comma else head).split()), validate=True)
        except ValueError:
            start = printable(text[:60].decode("utf-8", "replace"))
            return self._missed(
                Status.IMAGE_MISSING,
                f"{start!r} is not base64; paths and URLs are not opened, the column must hold the "
                "bytes",
            )

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
            self._missed(best.status, best.error)
            if not nested:
                return None
        return texts if len(texts) > 1 else texts[0]

    def _missed(self, status: Status, why: str) -> Fault:
        self._missing[status] += 1
        self._first.setdefault(status, printable(why))
        return Fault(status, printable(why))


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


class _Layout:
    """Which columns hold what.

    Raises:
        PairsiftError: there is no image or caption column, or it has a wrong type.
    """

    def __init__(
        self, schema: pa.Schema, image: str | None, caption: str | None, url: str, lists: bool
    ) -> None:
        self._lists = lists
        self._schema = schema
        self._url = url
        self._columns = _Struct()
        self._numbers: dict[str, int] = {}
        for number, column in enumerate(schema):  # of two columns with the same name, the first
            self._columns.setdefault(column.name, _shape(column.type))
            self._numbers.setdefault(column.name, number)
        self.image = self._named("image", image) if image else self._usual_image()
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
        needed = "image bytes, a struct with them or base64 text" if what == "image" else "text"
        raise PairsiftError(f"{option} is {kind}, but {needed} is expected{self._hint(what, path)}")

    def _usual(self, names: Sequence[str], fits: Callable[[pa.DataType], bool]) -> _Place | None:
        lower = {name.lower(): name for name in reversed(self._columns)}
        for name in [*names, *(lower.get(name.lower(), name) for name in names)]:
            if name in self._columns and fits(_kind_of(self._columns[name])):
                return self._place((name,))
        return None

    def _usual_image(self) -> _Place:
        fitting = [name for name in self._columns if _holds_images(_kind_of(self._columns[name]))]
        found = self._usual(IMAGE_BYTES_COLUMNS, _holds_images)
        if found is not None:
            return found
        if len(fitting) == 1:
            return self._place((fitting[0],))
        hint = self._hint("image")
        if not fitting and not hint and {"url", "status"} <= set(self._columns):
            hint = "; img2dataset writes such metadata beside its tars: give the tars"
        texts = self._usual(IMAGE_BYTES_COLUMNS, _is_text)
        if not hint and texts is not None:
            name = texts.steps[0]
            hint = (
                f"; if {name} is base64, give --image-field {name}; if it holds paths or URLs, the "
                "images are not in the file: download them, or list them in a captions table"
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
    return tuple(itertools.takewhile(lambda step: isinstance(step, str), steps))


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


def _plain(scalar: pa.Scalar, without: tuple[Step, ...]) -> Any:
    """Return a value as Python has it, without image bytes inside it."""
    try:
        if not without or not scalar.is_valid:
            return scalar.as_py()
        first, *rest = without
        names = [field.name for field in scalar.type if rest or field.name != first]
        return {name: _plain(scalar[name], tuple(rest) if name == first else ()) for name in names}
    except (UnicodeDecodeError, ValueError, OverflowError):
        return None  # metadata that Python cannot represent must not lose the sample


def _uid(metadata: dict[str, Any]) -> str | None:
    nested = metadata.get("json")
    return valid_uid(metadata.get("uid")) or (
        valid_uid(nested.get("uid")) if isinstance(nested, dict) else None
    )


def _values(table: pq.ParquetFile, group: int, name: str | None) -> Iterator[Any]:
    """Return a column of a row group, as far as it can be read."""
    if name is None:
        return
    try:
        for batch in table.iter_batches(row_groups=[group], columns=[name], use_threads=False):
            for value in batch.column(0):
                yield _plain(value, ())
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
