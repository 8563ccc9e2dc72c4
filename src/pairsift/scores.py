"""The score table: its schema, its fingerprint, and how one shard's file is committed.

One parquet file per source shard, one row per input sample in input order, failures included.
The schema is fixed, never inferred, so that a shard without a single caption or uid has the same
columns as its neighbours. A file appears under its final name complete or not at all: its presence
is the commit that resume relies on.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.storage import Folder

FINGERPRINT_KEY = b"pairsift.fingerprint"
FACTS_KEY = b"pairsift.shard"
# Not *.parquet, so that no reader of the score folder takes it for a table.
MANIFEST = "_run.json"

Fingerprint = Mapping[str, str]

IDENTITY_FIELDS: tuple[pa.Field, ...] = (
    pa.field("shard", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("uid", pa.string()),
    pa.field("status", pa.dictionary(pa.int8(), pa.string()), nullable=False),
    pa.field("error", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("caption_length", pa.int32()),
)
_STATUSES = pa.array([status.value for status in Status])
_STATUS_INDEX = {status: index for index, status in enumerate(Status)}


def score_schema(columns: Iterable[pa.Field]) -> pa.Schema:
    """Schema of a score table: identity and status columns, then a scorer's own."""
    return pa.schema([*IDENTITY_FIELDS, *columns])


def status_array(statuses: Sequence[Status]) -> pa.DictionaryArray:
    """Statuses as Arrow; the dictionary is the whole closed list, the same in every file."""
    indices = pa.array([_STATUS_INDEX[status] for status in statuses], pa.int8())
    return pa.DictionaryArray.from_arrays(indices, _STATUSES)


def read_fingerprint(metadata: Mapping[bytes, bytes] | None, path: str) -> dict[str, str]:
    """Fingerprint out of a score file's key-value metadata.

    Raises:
        PairsiftError: the file was not written by Pairsift.
    """
    if not metadata or FINGERPRINT_KEY not in metadata:
        raise PairsiftError(
            f"{path} is not a score table of Pairsift (its metadata has no "
            f"{FINGERPRINT_KEY.decode()}); give a folder that `pairsift score` wrote"
        )
    fingerprint: dict[str, str] = json.loads(metadata[FINGERPRINT_KEY])
    return fingerprint


class ScoreFolder:
    """A folder of score tables, all made by one scorer in one configuration.

    Args:
        url: local path or fsspec URL.
        fingerprint: everything that decides a score: scorer name and version, checkpoint digest,
            prompt digest, preprocessing, dtype, metrics. Batch size, worker count and engine are
            not in it, because scores do not depend on them.
        root: the common folder of the source shards. Score files are named by a shard's path
            below it, so two roots in one folder could name two shards alike.

    Raises:
        PairsiftError: the folder holds scores of another fingerprint or of another root.
    """

    def __init__(self, url: str, fingerprint: Fingerprint, root: str) -> None:
        self.folder = Folder(url)
        self.fingerprint = dict(fingerprint)
        self.root = root
        self.folder.create()
        self.folder.remove_leftovers()
        self._claim()

    def _claim(self) -> None:
        try:
            manifest = json.loads(self.folder.read(MANIFEST))
        except FileNotFoundError:
            manifest = None
        except ValueError as error:
            raise PairsiftError(
                f"{self.folder.file(MANIFEST)} is not readable JSON ({error}); "
                "choose another --out, or restore that file"
            ) from error
        if manifest is None:
            content = {"fingerprint": self.fingerprint, "root": self.root}
            self.folder.write(MANIFEST, (json.dumps(content, indent=1) + "\n").encode())
            return
        self._refuse_mixing(manifest["fingerprint"])
        if manifest["root"] != self.root:
            raise PairsiftError(
                f"{self.folder.url} holds scores of shards below {manifest['root']}, but these "
                f"shards lie below {self.root}; choose another --out for them (if the data was "
                f"moved, write its new place as \"root\" into {self.folder.file(MANIFEST)})"
            )

    def _refuse_mixing(self, theirs: Mapping[str, str]) -> None:
        differing = [
            f"{field} is {theirs.get(field)!r} there and {self.fingerprint.get(field)!r} now"
            for field in sorted(theirs.keys() | self.fingerprint.keys())
            if theirs.get(field) != self.fingerprint.get(field)
        ]
        if differing:
            raise PairsiftError(
                f"{self.folder.url} holds scores made in another way: {'; '.join(differing)}. "
                "Choose another --out, or go on with the scorer and options it was begun with"
            )

    def finished(self) -> set[str]:
        """Names (without `.parquet`) of the shards whose table is there."""
        suffix = ".parquet"
        return {name[: -len(suffix)] for name in self.folder.names() if name.endswith(suffix)}

    def commit(self, name: str, table: pa.Table, facts: Mapping[str, Any]) -> None:
        """Write one shard's table whole, with the fingerprint and the run's facts about it."""
        metadata = {
            FINGERPRINT_KEY: json.dumps(self.fingerprint, sort_keys=True).encode(),
            FACTS_KEY: json.dumps(facts, sort_keys=True).encode(),
        }
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
        self.folder.write(f"{name}.parquet", buffer.getvalue())
