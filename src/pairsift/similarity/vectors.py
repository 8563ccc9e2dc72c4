"""The embeddings of score folders, one table at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift import embeddings
from pairsift.arrow import read_parquet
from pairsift.errors import PairsiftError
from pairsift.manifest import changes
from pairsift.scorers.caption_index import CAPTION_INDEX
from pairsift.scores import TABLE_SUFFIX, telling_damage, without_suffix
from pairsift.sources.files import normalise
from pairsift.storage import Folder

_IDENTITY = ("shard", "key", "uid", CAPTION_INDEX)
_SHARED = ("scorer", "checkpoint", "preprocessing", "embeddings")
"""fields of a fingerprint that decide whether embeddings may be compared"""


@dataclass(frozen=True, slots=True)
class EmbeddedTable:
    """A score table that has embeddings.

    Attributes:
        name: of its shard.
    """

    folder: Folder
    name: str

    def rows(self) -> pa.Table:
        """Shard, key and uid of the rows, and which of its sample's captions each has, if known."""
        content = self.folder.read(self.name + TABLE_SUFFIX)
        with telling_damage(self.folder.file(self.name + TABLE_SUFFIX)):
            there = pq.read_schema(pa.BufferReader(content)).names
            columns = [name for name in _IDENTITY if name in there]
            return read_parquet(content, columns).replace_schema_metadata(None)

    def digest(self) -> str:
        """What the score table says its embeddings are; empty if it has none."""
        path = self.folder.file(self.name + TABLE_SUFFIX)
        with telling_damage(path), self.folder.fs.open(path, "rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
        found: bytes = metadata.get(embeddings.DIGEST_KEY, b"")
        return found.decode()

    def read(self) -> embeddings.Embeddings:
        """The embeddings of the rows."""
        return embeddings.read(self.folder, self.name, self.digest().encode() or None)


def embedded_tables(scores: str | Sequence[str]) -> list[EmbeddedTable]:
    """The tables of score folders, in the order of folder and name.

    Raises:
        PairsiftError: a folder holds no scores.
    """
    found = []
    for url in [scores] if isinstance(scores, str) else scores:
        folder = Folder(normalise(url))
        if folder.fs.isfile(folder.path):
            raise PairsiftError(
                f"{url} is a file; give the folder that `pairsift score --embeddings` wrote"
            )
        names = sorted(without_suffix(folder.names(), TABLE_SUFFIX))
        if not names:
            raise PairsiftError(
                f"{url} holds no score tables; give a folder that `pairsift score --embeddings` "
                "wrote"
            )
        found += [EmbeddedTable(folder, name) for name in names]
    return found


class SameModel:
    """Refuses embeddings of another model than the first that it saw."""

    def __init__(self) -> None:
        self._first: dict[str, str] | None = None

    def check(self, table: EmbeddedTable, made: embeddings.Embeddings) -> embeddings.Embeddings:
        """The embeddings.

        Raises:
            PairsiftError: they are of another model.
        """
        model = {name: value for name, value in made.model.items() if name in _SHARED}
        self._first = self._first or model
        if differing := changes(self._first, model):
            raise PairsiftError(
                f"the embeddings of {table.name} in {table.folder.url} are of another model: "
                f"{differing}. Compare embeddings of one scorer"
            )
        return made


def each(
    tables: Sequence[EmbeddedTable], same: SameModel
) -> Iterator[tuple[EmbeddedTable, embeddings.Embeddings]]:
    """Tables and their embeddings, one after the other."""
    for table in tables:
        yield table, same.check(table, table.read())


def as_float32(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors in float32, made so again after the rounding of float16."""
    whole = vectors.astype(np.float32)
    length = np.linalg.norm(whole, axis=1, keepdims=True)
    unit: np.ndarray = whole / np.where(length > 0, length, 1)
    return unit
