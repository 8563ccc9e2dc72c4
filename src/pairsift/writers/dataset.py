"""A Hugging Face dataset of the kept samples: parquet that ``load_dataset`` takes as it is.

The features (``Image`` for the pictures) stand in the files' metadata, where `datasets` looks for
them, so neither that package nor a hub is needed to write. Image bytes are those of the source.
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
from pairsift.pair import Pair
from pairsift.scores import IDENTITY_FIELDS
from pairsift.select.record import KeptShard, Selection
from pairsift.sources import open_shard
from pairsift.storage import Folder
from pairsift.writers.claim import claim
from pairsift.writers.origin import find_source
from pairsift.writers.pairs import image_extension

ROWS_PER_FILE = 10_000
# Pictures are large: readers that want one row should not have to fetch thousands.
_ROWS_PER_GROUP = 100
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
        files: parquet files in it.
        written: of these, the ones this run wrote; the others were there.
        rows: in all files.
    """

    path: str
    files: int
    written: int
    rows: int


def write_dataset(
    selection: Selection,
    out: str | os.PathLike[str],
    *,
    rows_per_file: int = ROWS_PER_FILE,
    root: str | None = None,
) -> DatasetFolder:
    """Write the kept samples as a Hugging Face dataset with one split, ``train``.

    Columns: ``image``, ``caption``, ``key``, ``uid``, ``shard``, ``metadata`` (the sample's other
    fields, as JSON) and all score columns. Each source shard is read once, forwards; killed and
    run again, the command goes on.

    Args:
        root: where the source shards lie now, if they were moved since they were scored.

    Raises:
        PairsiftError: nothing is kept; the folder holds something else; a source is gone, or not
            the one that was scored.
    """
    if rows_per_file < 1:
        raise PairsiftError(f"{rows_per_file} rows a file is not a positive number")
    if not selection.kept:
        raise PairsiftError("the selection keeps no row; there is nothing to write")
    folder = Folder(out)
    claim(folder, {"selection": selection.record.digest, "rows_per_file": rows_per_file})
    data = Folder(f"{folder.url}/data")
    data.create()
    data.remove_leftovers()
    count = -(-selection.kept // rows_per_file)
    names = [f"train-{place:05d}-of-{count:05d}.parquet" for place in range(count)]
    finished = data.names()
    samples = _KeptSamples(selection, root)
    written = 0
    for place, name in enumerate(names):
        if name in finished:
            continue
        rows = samples.read(place * rows_per_file, (place + 1) * rows_per_file)
        schema = samples.schema
        with data.atomic(name) as file, pq.ParquetWriter(file, schema) as writer:
            while chunk := list(islice(rows, _ROWS_PER_GROUP)):
                writer.write_table(pa.Table.from_pylist(chunk, schema))
        written += 1
    return DatasetFolder(folder.url, count, written, selection.kept)


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
        fields = [
            pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
            for f in next(iter(selection.shards())).schema()
            if f.name not in {known.name for known in IDENTITY_FIELDS}
        ]
        self._columns = [field.name for field in fields]
        self.schema = _with_features([*_OWN, *fields])

    def read(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Rows `start` to `stop`; ranges come in ascending order. Shards before are not opened."""
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
        source = find_source(shard, shard.facts(), self._selection, self._root)
        table = shard.table(["key", *self._columns])
        pairs = enumerate(open_shard(source))
        for row, scores in islice(
            zip(shard.rows.tolist(), table.to_pylist(), strict=True), skip, None
        ):
            key = scores.pop("key")
            pair = next((pair for number, pair in pairs if number == row), None)
            if pair is None or pair.key != key:
                raise PairsiftError(
                    f"{source.url} has no sample {key} in row {row}, where it had one when it "
                    "was scored; score it again"
                )
            yield pair, scores


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
    """The schema with the dataset's features where `datasets` looks for them."""
    features = {
        field.name: {"_type": "Image"}
        if field.type == _IMAGE
        else {"dtype": _NAMES.get(str(field.type), str(field.type)), "_type": "Value"}
        for field in fields
    }
    described = json.dumps({"info": {"features": features}})
    return pa.schema(list(fields), metadata={"huggingface": described})
