"""A Hugging Face dataset of the kept samples: parquet that ``load_dataset`` reads as it is.

The features (``Image`` for the images) are in the files' metadata, where `datasets` looks for them,
so writing needs neither that package nor a hub. Image bytes are those of the source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.image_formats import image_extension
from pairsift.pair import Pair
from pairsift.scores import IDENTITY_FIELDS
from pairsift.select.record import KeptShard, Selection
from pairsift.storage import Folder, join
from pairsift.writers.job import at_once
from pairsift.writers.manifest import OutputManifest

ROWS_PER_FILE = 10_000
# Images are large, so a reader of one row should not have to fetch thousands.
_ROWS_PER_GROUP = 100
_OF_NOTHING = "data/train-00000-of-00001.parquet"
_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_OWN = [
    pa.field("image", _IMAGE),
    pa.field("caption", pa.string()),
    pa.field("key", pa.string()),
    pa.field("uid", pa.string()),
    pa.field("shard", pa.string()),
    pa.field("metadata", pa.string()),
]
_NAMES = {"float": "float32", "double": "float64", "halffloat": "float16"}


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A written dataset.

    Attributes:
        files: number of parquet files.
        written: how many of them this run wrote; the others existed.
        rows: number of rows in all files.
    """

    path: str
    files: int
    written: int
    rows: int

    def lines(self) -> list[str]:
        """What was written, for people."""
        if not self.rows:
            return [f"the selection keeps nothing: no row in {self.path}"]
        return [f"{self.rows:,} rows in {self.path}: load_dataset({self.path!r})"]


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """A dataset ready to be written; all options are checked."""

    selection: Selection
    manifest: OutputManifest
    rows_per_file: int
    root: str | None

    def write(self) -> DatasetFolder:
        """Write the dataset; see :func:`write_dataset`."""
        folder, kept = self.manifest.folder, self.selection.kept
        count = max(1, -(-kept // self.rows_per_file))
        names = [f"train-{place:05d}-of-{count:05d}.parquet" for place in range(count)]
        data = Folder(join(folder.url, "data"))
        samples = _KeptSamples(self.selection, self.root)
        schema = samples.schema
        written = 0
        with self.manifest.filling():
            finished = data.names()
            for place, name in enumerate(names):
                if name in finished:
                    continue
                rows = samples.read(place * self.rows_per_file, (place + 1) * self.rows_per_file)
                first = list(islice(rows, _ROWS_PER_GROUP))
                data.create()
                data.remove_leftovers()
                with data.atomic(name) as file:
                    with pq.ParquetWriter(file, schema) as writer:
                        chunk = first
                        while chunk:
                            writer.write_table(pa.Table.from_pylist(chunk, schema))
                            chunk = list(islice(rows, _ROWS_PER_GROUP))
                    self.manifest.take()
                written += 1
        return DatasetFolder(folder.url, count, written, kept)


def prepare_dataset(
    selection: Selection,
    out: str | os.PathLike[str],
    *,
    rows_per_file: int = ROWS_PER_FILE,
    root: str | None = None,
) -> DatasetJob:
    """Prepare to write the kept samples as a Hugging Face dataset with one split, ``train``.

    Everything that can be wrong is checked before a source is read, and nothing is written.
    :func:`write_dataset` prepares and writes.

    Columns: ``image``, ``caption``, ``key``, ``uid``, ``shard``, ``metadata`` (the sample's other
    fields, as JSON) and all score columns. Each source shard is read once, forwards. A killed run
    can be resumed. A checksum of every sample is compared with that of the scored sample. If
    nothing is kept, one file without rows is written.

    Args:
        root: where the source shards are now, if they were moved since scoring.

    Raises:
        PairsiftError: the folder holds something else; a source is missing, or is not the one that
            was scored.
    """
    if rows_per_file < 1:
        raise PairsiftError(f"{rows_per_file} rows per file is not a positive number")
    columns = [field.name for field in _score_fields(selection)]
    manifest = OutputManifest(
        Folder(out), selection, columns, {"rows_per_file": rows_per_file}, [_OF_NOTHING]
    )
    return DatasetJob(selection, manifest, rows_per_file, root)


write_dataset = at_once(prepare_dataset)


def _score_fields(selection: Selection) -> list[pa.Field]:
    return [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in selection.schema()
        if f.name not in {known.name for known in IDENTITY_FIELDS}
    ]


class _KeptSamples:
    """The kept samples, numbered from 0, with their scores."""

    def __init__(self, selection: Selection, root: str | None) -> None:
        self._selection = selection
        self._root = root
        self._shards = selection.shards()
        self._shard: KeptShard | None = None
        self._first = self._end = 0
        self._opened: Iterator[tuple[Pair, dict[str, Any]]] = iter(())
        self._next = 0
        fields = _score_fields(selection)
        self._columns = [field.name for field in fields]
        self.schema = _with_features([*_OWN, *fields])

    def read(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Return rows `start` to `stop`; ranges come in ascending order."""
        while start < min(stop, self._selection.kept):
            while start >= self._end:
                self._shard = next(self._shards)
                self._first, self._end = self._end, self._end + len(self._shard.rows)
                self._opened, self._next = iter(()), -1
            assert self._shard is not None
            if self._next != start:
                self._opened = self._samples(self._shard, start - self._first)
            for pair, scores in islice(self._opened, min(stop, self._end) - start):
                yield _row(pair, scores)
                start += 1
            self._next = start

    def _samples(self, shard: KeptShard, skip: int) -> Iterator[tuple[Pair, dict[str, Any]]]:
        origin = self._selection.provenance(shard, self._root)
        table = shard.table(["key", *self._columns]).slice(skip)
        keys = table.column("key").to_pylist()
        rows = shard.rows[skip:].tolist()
        scores = table.drop_columns(["key"]).to_pylist() if self._columns else [{}] * len(rows)
        yield from zip(origin.rows(rows, keys), scores, strict=True)


def _row(pair: Pair, scores: dict[str, Any]) -> dict[str, Any]:
    image = pair.image or b""
    return {
        "image": {"bytes": image, "path": f"{pair.key}.{image_extension(image)}"},
        "caption": pair.caption,
        "key": pair.key,
        "uid": pair.uid,
        "shard": pair.shard,
        "metadata": json.dumps(dict(pair.metadata), default=str),
        **scores,
    }


def _with_features(fields: Sequence[pa.Field]) -> pa.Schema:
    """Return the schema with the dataset's features in its metadata, for `datasets`."""
    features = {
        field.name: {"_type": "Image"}
        if field.type == _IMAGE
        else {"dtype": _NAMES.get(str(field.type), str(field.type)), "_type": "Value"}
        for field in fields
    }
    described = json.dumps({"info": {"features": features}})
    return pa.schema(list(fields), metadata={"huggingface": described})
