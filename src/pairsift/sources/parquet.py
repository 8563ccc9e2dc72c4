"""Parquet files that carry image bytes: img2dataset's and Hugging Face's layouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.captions import decode_caption
from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status
from pairsift.sources.base import Shard, ShardReader, printable, valid_uid
from pairsift.sources.files import open_file

IMAGE_COLUMNS = ("jpg", "image", "image_bytes", "png", "webp", "jpeg", "img", "bytes")
CAPTION_COLUMNS = ("caption", "text", "txt", "alt_text", "alt", "TEXT")
KEY_COLUMNS = ("key", "__key__")
_BATCH_ROWS = 16
_ROW_DIGITS = 9


class ParquetReader(ShardReader):
    """Reads a parquet file in small batches, so that memory depends on neither file nor row group.

    - Image: option `image`, else the first of `IMAGE_COLUMNS`, else the only column of such a
      type. Binary, or a struct with ``bytes`` (and ``path``) as Hugging Face's ``Image`` feature
      writes it.
    - Caption: option `caption`, else the first of `CAPTION_COLUMNS`; text.
    - Key: the first of `KEY_COLUMNS`, else the row's number in nine digits. uid: column ``uid``,
      or ``uid`` of a ``json`` struct. All other columns are metadata.
    - img2dataset's failed rows are ``image_missing``, with its reason.
    - Row groups that cannot be read are left out and told in `problem`.
    """

    kind: ClassVar[str] = "parquet"

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._image: str | None = options.get("image")
        self._caption: str | None = options.get("caption")
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        self.notes.clear()
        with open_file(self.shard.url) as file:
            table = self._open(file)
            layout = _Layout(table.schema_arrow, self._image, self._caption, self.shard.url)
            seen: set[str] = set()
            first_row = 0
            broken: list[str] = []
            for group in range(table.num_row_groups):
                row = first_row
                try:
                    for batch in table.iter_batches(
                        _BATCH_ROWS, row_groups=[group], use_threads=False
                    ):
                        for pair in self._pairs(layout, batch, row):
                            yield self._once(pair, seen)
                        row += batch.num_rows
                except (pa.ArrowException, OSError, ValueError) as error:
                    if isinstance(error, OSError) and error.errno:
                        raise  # the storage, not the data
                    broken.append(f"row group {group} after row {row}: {_first_line(error)}")
                first_row += table.metadata.row_group(group).num_rows
        if broken:
            self.problem = f"{len(broken)} unreadable row groups; {broken[0]}"

    def _open(self, file: Any) -> pq.ParquetFile:
        try:
            # Buffered, not pre-buffered: a column chunk of images is never held whole.
            return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise PairsiftError(
                f"{self.shard.url} is not a readable parquet file ({_first_line(error)}); "
                "remove it, or fetch it again"
            ) from error

    def _once(self, pair: Pair, seen: set[str]) -> Pair:
        if pair.key not in seen:
            seen.add(pair.key)
            return pair
        fault = Fault(Status.DUPLICATE_KEY, "an earlier row has this key")
        return Pair(pair.key, None, pair.caption, pair.shard, pair.uid, pair.metadata, fault)

    def _pairs(self, layout: _Layout, batch: pa.RecordBatch, first_row: int) -> Iterator[Pair]:
        captions = _binary(batch.column(layout.caption))
        images = batch.column(layout.image)
        others = {name: batch.column(name) for name in layout.others}
        for index in range(batch.num_rows):
            metadata = {name: _value(column[index]) for name, column in others.items()}
            image = self._read_image(images[index], metadata)
            text = captions[index].as_py()
            caption = None if text is None else decode_caption(text)
            key = next((metadata[name] for name in layout.keys if metadata[name] is not None), None)
            yield Pair(
                key=printable(str(key))
                if key is not None
                else f"{first_row + index:0{_ROW_DIGITS}}",
                image=None if isinstance(image, Fault) else image,
                caption=None if isinstance(caption, Fault) else caption,
                shard=self.shard.name,
                uid=_uid(metadata),
                metadata=metadata,
                fault=next((part for part in (image, caption) if isinstance(part, Fault)), None),
            )

    def _read_image(self, value: pa.Scalar, metadata: dict[str, Any]) -> bytes | Fault:
        path = None
        if pa.types.is_struct(value.type) and value.is_valid:
            path = value["path"].as_py() if "path" in [field.name for field in value.type] else None
            value = value["bytes"]
        if not value.is_valid:
            return Fault(Status.IMAGE_MISSING, _why_missing(path, metadata))
        size = value.as_buffer().size
        if size > self._max_image_bytes:
            return Fault(
                Status.IMAGE_TOO_LARGE,
                f"{size:,} bytes; at most {self._max_image_bytes:,} are read",
            )
        data: bytes = value.as_py()
        return data


class _Layout:
    """Which columns hold what.

    Raises:
        PairsiftError: no image or caption column, or one of a wrong type.
    """

    def __init__(self, schema: pa.Schema, image: str | None, caption: str | None, url: str) -> None:
        self.image = self._find_image(schema, image, url)
        self.caption = self._find_caption(schema, caption, url)
        self.others = [name for name in schema.names if name not in (self.image, self.caption)]
        self.keys = [name for name in KEY_COLUMNS if name in self.others]

    @staticmethod
    def _find_image(schema: pa.Schema, wanted: str | None, url: str) -> str:
        fitting = [field.name for field in schema if _holds_images(field.type)]
        for name in (wanted,) if wanted else IMAGE_COLUMNS:
            if name in fitting:
                return str(name)
        if wanted is None and len(fitting) == 1:
            return str(fitting[0])
        if wanted in schema.names:
            raise PairsiftError(
                f"{url}: column {wanted!r} is {schema.field(wanted).type}; "
                "image bytes, or a struct with them, are needed"
            )
        hint = "name it with the image option"
        if not fitting and {"url", "status"} <= set(schema.names):
            hint = "it looks like the metadata beside img2dataset's tars: give the tars"
        raise PairsiftError(
            f"{url} has no column {wanted or 'of image bytes'} that can be used; its columns are: "
            f"{', '.join(schema.names[:20])}; {hint}"
        )

    @staticmethod
    def _find_caption(schema: pa.Schema, wanted: str | None, url: str) -> str:
        for name in (wanted,) if wanted else CAPTION_COLUMNS:
            if name in schema.names and _is_text(schema.field(name).type):
                return str(name)
        raise PairsiftError(
            f"{url} has no text column {wanted or ' or '.join(CAPTION_COLUMNS)}; its columns are: "
            f"{', '.join(schema.names[:20])}; name the right one with the caption option"
        )


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)  # a shard without a single caption
    )


def _binary(column: pa.Array) -> pa.Array:
    """Text as the bytes it is stored in, which need not be valid UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_binary())


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (UnicodeDecodeError, ValueError, OverflowError):
        return None  # metadata that Python cannot hold is not worth a sample


def _uid(metadata: dict[str, Any]) -> str | None:
    nested = metadata.get("json")
    return valid_uid(metadata.get("uid")) or (
        valid_uid(nested.get("uid")) if isinstance(nested, dict) else None
    )


def _why_missing(path: str | None, metadata: dict[str, Any]) -> str:
    if path:
        return f"only the path {path!r} is stored, not the image"
    if metadata.get("status") not in (None, "success"):
        reason = metadata.get("error_message") or "no reason given"
        return printable(f"img2dataset: {metadata['status']}: {reason}")
    return "the image is null"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
