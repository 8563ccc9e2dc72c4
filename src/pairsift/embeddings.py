"""Embeddings of images and captions, one Arrow file for each score table.

A scorer that writes them has the columns `IMAGE` and `TEXT`: fixed-size lists of float16, of unit
length, null if the row is not ok. They are not in the score table but in
``embeddings/<shard>.arrow`` in its folder, with the same rows in the same order. This is an
uncompressed Arrow IPC file, whose numbers numpy reads without a copy. It is written before its
table, which has a digest of it: the table's existence is the commit of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.storage import Folder, join

IMAGE, TEXT = "image_embedding", "text_embedding"
NAMES = (IMAGE, TEXT)
FOLDER = "embeddings"
SUFFIX = ".arrow"
DIGEST_KEY = b"pairsift.embeddings"
MODEL_KEY = b"pairsift.model"
"""in the Arrow file: the fingerprint of the scorer that made the embeddings, as JSON"""
FORMAT = "float16, unit length"


def embedding_fields(dimension: int) -> tuple[pa.Field, ...]:
    """Return the two columns of embeddings with this dimension."""
    return tuple(pa.field(name, pa.list_(pa.float16(), dimension)) for name in NAMES)


def without_embeddings(fields: Iterable[pa.Field]) -> tuple[pa.Field, ...]:
    """Return the fields of the score table."""
    return tuple(field for field in fields if field.name not in NAMES)


def to_arrow(vectors: np.ndarray) -> pa.Array:
    """Convert numbers (rows, dimension) to fixed-size lists; a row with NaN becomes null."""
    mask = pa.array(np.isnan(vectors).any(axis=1))
    flat = np.ascontiguousarray(np.nan_to_num(vectors), dtype=np.float16).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1], mask=mask)


def split(table: pa.Table) -> tuple[pa.Table, pa.Table | None]:
    """Return a table without its embeddings, and the embeddings; None if it has none."""
    names = [name for name in NAMES if name in table.schema.names]
    if not names:
        return table, None
    vectors = table.select(names).replace_schema_metadata(None).combine_chunks()
    return table.drop_columns(names), vectors


def write(scores: Folder, name: str, vectors: pa.Table, model: Mapping[str, str]) -> bytes:
    """Write the embeddings of a score table; return the digest to put into it."""
    sink = pa.BufferOutputStream()
    metadata = {MODEL_KEY: json.dumps(dict(model), sort_keys=True).encode()}
    schema = vectors.schema.with_metadata(metadata)
    with pa.ipc.new_file(sink, schema) as file:
        # One batch, so that a column is one array in the file.
        for batch in vectors.replace_schema_metadata(metadata).to_batches():
            file.write_batch(batch)
    content = sink.getvalue().to_pybytes()
    folder = Folder(join(scores.url, FOLDER))
    folder.create()
    folder.write(name + SUFFIX, content)
    return _digest(content)


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=12).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embeddings of one score table.

    Attributes:
        vectors: by column name, float16 (rows, dimension); rows that are not ok hold zeros.
        ok: (rows,) bool; False if a row has none, or numbers that are not finite.
        model: fingerprint of the scorer.
    """

    vectors: Mapping[str, np.ndarray]
    ok: np.ndarray
    model: Mapping[str, str]


def read(scores: Folder, name: str, digest: bytes | None) -> Embeddings:
    """Read the embeddings of a score table; of a local file only the used parts are read.

    Args:
        digest: the digest in the score table.

    Raises:
        PairsiftError: there are none, or they do not belong to the table.
    """
    return from_table(read_table(scores, name, digest))


def read_table(scores: Folder, name: str, digest: bytes | None) -> pa.Table:
    """Read like :func:`read`, as an Arrow table with the columns `NAMES`."""
    folder = Folder(join(scores.url, FOLDER))
    path = folder.file(name + SUFFIX)
    if digest is None or not folder.exists(name + SUFFIX):
        raise PairsiftError(
            f"{scores.url} has no embeddings of {name}; score with --embeddings into a new folder"
        )
    content = pa.memory_map(path).read_buffer() if folder.is_local else pa.py_buffer(
        folder.read(name + SUFFIX))  # fmt: skip
    if _digest(memoryview(content)) != digest:
        raise PairsiftError(
            f"{path} is not what the score table {name} was written with; remove the table and run "
            "`pairsift score` again"
        )
    return pa.ipc.open_file(content).read_all()


def from_table(table: pa.Table) -> Embeddings:
    """Return the arrays of a table with the columns `NAMES`."""
    vectors: dict[str, np.ndarray] = {}
    ok = np.ones(len(table), dtype=bool)
    for name in NAMES:
        column: Any = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # of no rows
            column = pa.concat_arrays(column.chunks) if column.chunks else column.type
        dimension = table.schema.field(name).type.list_size
        if not len(table):
            vectors[name] = np.zeros((0, dimension), np.float16)
            continue
        values = column.values.to_numpy(zero_copy_only=False)
        start = column.offset * dimension
        vectors[name] = values[start : start + len(table) * dimension].reshape(-1, dimension)
        ok &= column.is_valid().to_numpy(zero_copy_only=False)
        ok &= np.isfinite(vectors[name]).all(axis=1)
    model = json.loads((table.schema.metadata or {}).get(MODEL_KEY, b"{}"))
    return Embeddings(vectors, ok, model)
