"""The score table: its schema, its fingerprint, and how one shard's file is committed.

There is one parquet file per source shard, with one row per sample in the same order, failures
included. The schema is fixed, never inferred, so that a shard without any caption or uid has the
same columns as the others. A file gets its final name only when it is complete; its existence is
the commit that resuming relies on.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift import embeddings
from pairsift.arrow import is_damage, read_parquet
from pairsift.byte_ranges import BYTE_RANGES_KEY, CHECKS_KEY, encode_byte_ranges, encode_checks
from pairsift.errors import PairsiftError
from pairsift.manifest import Difference, Manifest, changes, in_words
from pairsift.metrics import METRICS, Metric
from pairsift.pair import Status
from pairsift.sources.base import ShardSet
from pairsift.sources.files import refuse_special
from pairsift.storage import Folder

FINGERPRINT_KEY = b"pairsift.fingerprint"
FACTS_KEY = b"pairsift.shard"
IDENTITY_KEY = b"pairsift.identity"
#: What the columns of metrics mean: `Metric.to_json` by column, as JSON.
COLUMNS_KEY = b"pairsift.columns"
#: Endings of the columns that say more about a metric's score, and are no scores.
COMPANIONS = ("_top", "_std", "_validity")
_METRIC_KEY = b"pairsift.metric"
TABLE_SUFFIX = ".parquet"
# None of these ends in .parquet, so that no reader of the score folder takes one for a table.
MANIFEST = "_run.json"
SHARD_NAMES = "_shards.txt.gz"
UNREADABLE_SUFFIX = ".unreadable.json"
# Options of sources that have another name on the command line.
_OPTION_NAMES = {"caption": "caption_field", "image": "image_field"}

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
_STATUS_INDEX = {status: index for index, status in enumerate(Status)}


def score_schema(columns: Iterable[pa.Field]) -> pa.Schema:
    """The Arrow schema of a score table: the columns that all tables have, then the scorer's.

    Args:
        columns: the scorer's columns.

    Returns:
        the schema.

    Examples:
        >>> import pyarrow as pa
        >>> score_schema([pa.field("itm", pa.float32())]).names
        ['shard', 'key', 'uid', 'status', 'error', 'width', 'height', 'caption_length', 'itm']
    """
    return pa.schema([*IDENTITY_FIELDS, *columns])


def metric_field(metric: Metric) -> pa.Field:
    """The column of a metric's scores, float32, which says in its metadata what it means."""
    meaning = json.dumps(metric.to_json(), ensure_ascii=False, sort_keys=True)
    return pa.field(metric.name, pa.float32(), metadata={_METRIC_KEY: meaning.encode()})


def schema_metrics(schema: pa.Schema, path: str = "the score table") -> dict[str, Metric]:
    """The metrics that a table has columns of, in the table's order.

    Args:
        schema: of a score table, written or in memory. One that does not say what its columns mean
            is of version 0.1, where the names of the four metrics said it.
        path: names the table in errors.

    Raises:
        PairsiftError: what a column means cannot be read.
    """
    stored = _stored_meanings(schema, path)
    if not stored:
        return {name: METRICS[name] for name in schema.names if name in METRICS}
    return {name: Metric.from_json(name, stored[name]) for name in schema.names if name in stored}


def folder_metrics(url: str) -> dict[str, Metric]:
    """Return the metrics that a score folder's tables have columns of, from one table's footer.

    Raises:
        PairsiftError: what a column means cannot be read.
    """
    folder = Folder(url)
    names = sorted(without_suffix(folder.names(), TABLE_SUFFIX))
    if not names:
        return {}
    path = folder.file(names[0] + TABLE_SUFFIX)
    with telling_damage(path), folder.fs.open(path, "rb") as file:
        schema = pq.read_schema(file)
    return schema_metrics(schema, path)


def _stored_meanings(schema: pa.Schema, path: str = "the score table") -> dict[str, Any]:
    with telling_damage(path):
        stored: dict[str, Any] = json.loads((schema.metadata or {}).get(COLUMNS_KEY, b"{}"))
        for field in schema:
            if field.metadata and _METRIC_KEY in field.metadata:
                stored[field.name] = json.loads(field.metadata[_METRIC_KEY])
    return stored


def status_array(statuses: Sequence[Status]) -> pa.DictionaryArray:
    """Return statuses as an Arrow array, with the whole closed list as its dictionary."""
    indices = pa.array([_STATUS_INDEX[status] for status in statuses], pa.int8())
    return pa.DictionaryArray.from_arrays(indices, pa.array([status.value for status in Status]))


def read_fingerprint(metadata: Mapping[bytes, bytes] | None, path: str) -> dict[str, str]:
    """Read the fingerprint from a score file's key-value metadata.

    Raises:
        PairsiftError: the file was not written by Pairsift.
    """
    if not metadata or FINGERPRINT_KEY not in metadata:
        raise PairsiftError(
            f"{path} is not a score table of Pairsift (its metadata has no "
            f"{FINGERPRINT_KEY.decode()}); give a folder that `pairsift score` wrote"
        )
    with telling_damage(path):
        fingerprint: dict[str, str] = json.loads(metadata[FINGERPRINT_KEY])
    return fingerprint


def source_identity(shard_set: ShardSet) -> dict[str, Any]:
    """Return what decides the captions and images of a run; see :class:`ScoreFolder`."""
    kinds = sorted({shard.kind for shard in shard_set.shards})
    return {"kind": "+".join(kinds), **input_options("+".join(kinds), shard_set.options)}


def input_options(kind: str, options: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a source's options by their names on the command line; defaults are left out."""
    named = {_OPTION_NAMES.get(name, name): value for name, value in options}
    if kind == "webdataset":
        if "image_field" in named:
            named["image_field"] = str(named["image_field"]).lstrip(".").lower()
        if "caption_field" in named:
            caption = str(named.pop("caption_field")).lstrip(".")
            if ".json." not in f".{caption}":
                caption = (
                    caption.lower()
                )  # suffixes are compared in lower case, fields of a json are not
            if caption != "txt":
                named["caption_field"] = caption
    return named


class TableIdentity(NamedTuple):
    """Distinguishes a score table from another one with the same name.

    Attributes:
        rows: number of rows.
        content: a digest of all rows, their samples' checksums and the fingerprint; for older
            tables the run that made them; empty if unknown.
    """

    rows: int
    content: str

    def difference(self, now: TableIdentity) -> str | None:
        """Say in words how a table differs from this one; None if it does not."""
        if now.rows != self.rows:
            return f"it has {now.rows:,} rows, and had {self.rows:,}"
        if now.content != self.content:
            return "its pairs were scored again"
        return None


def content_identity(metadata: Mapping[bytes, bytes] | None) -> str:
    """Return a table's :attr:`TableIdentity.content` from its key-value metadata."""
    stored = (metadata or {}).get(IDENTITY_KEY)
    if stored is not None:
        return stored.decode(errors="replace")
    facts = json.loads((metadata or {}).get(FACTS_KEY, b"{}"))
    return " ".join(str(facts[name]) for name in ("run", "finished_at") if facts.get(name))


def table_bytes(table: pa.Table) -> bytes:
    """Return rows and columns of a table as bytes that do not depend on its chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as stream:
        stream.write_table(table.replace_schema_metadata(None).combine_chunks())
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _digest(table: pa.Table, metadata: Mapping[bytes, bytes]) -> bytes:
    digest = hashlib.blake2b(table_bytes(table), digest_size=12)
    digest.update(metadata[FINGERPRINT_KEY])
    digest.update(metadata.get(CHECKS_KEY, b""))
    return digest.hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Listing:
    """Names of the shards that have a table, and of those that a run could not read."""

    finished: set[str]
    unreadable: set[str]


class ScoreFolder:
    """A folder of score tables, all made by one scorer in one configuration from one kind of input.

    Args:
        url: local path or fsspec URL.
        fingerprint: everything that decides a score: scorer name and version, checkpoint digest,
            prompt digest, preprocessing, dtype, metrics. Batch size, number of workers and engine
            are not in it, because scores do not depend on them. None to read only, not to commit.
        root: the common folder of the source shards. A score file is named by its shard's path
            below it, so with two roots two shards could get the same name.
        source: what decides which caption and image a sample has: the kind of source and its
            options, see :func:`source_identity`. None if there are no source shards.

    Raises:
        PairsiftError: the folder holds scores of another fingerprint, source or root; or it was
            not begun, and holds a parquet file that is not a score table.
    """

    def __init__(
        self,
        url: str,
        fingerprint: Fingerprint | None,
        root: str,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Folder(url)
        self.fingerprint = dict(fingerprint or {})
        self.root = root
        self._manifest: Manifest | None = None
        if fingerprint is not None:
            self.folder.create()
            self.folder.remove_leftovers()
            identity: dict[str, Any] = {"fingerprint": self.fingerprint, "root": root}
            if source is not None:
                identity["source"] = dict(source)
            self._manifest = Manifest(
                self.folder, MANIFEST, identity, self._refusal, optional=frozenset({"source"})
            )
            if not self._manifest.check():
                self._refuse_other_tables()

    def claim(self) -> None:
        """Begin the folder; called before the first table is committed.

        Raises:
            PairsiftError: another run has begun it with other settings.
        """
        if self._manifest is not None:
            self._manifest.take()

    def release(self) -> None:
        """Undo :meth:`claim` for a run that ends before it has written anything.

        A folder with a table, or with the record of an unreadable shard, stays begun.
        """
        listing = self.listing()
        if self._manifest is None or listing.finished or listing.unreadable:
            return
        if self._manifest.release():
            self.folder.remove(SHARD_NAMES)

    def _refuse_other_tables(self) -> None:
        """Refuse a folder with other parquet files."""
        for name in sorted(without_suffix(self.folder.names(), TABLE_SUFFIX)):
            path = self.folder.file(name + TABLE_SUFFIX)
            if self.folder.is_local:
                refuse_special(path)
            try:
                ours = FINGERPRINT_KEY in _read_metadata(self.folder, path)
            except Exception as error:
                if not (is_damage(error) or isinstance(error, IsADirectoryError)):
                    raise
                ours = False
            if not ours:
                raise PairsiftError(
                    f"{path} is not a score table of Pairsift, and must not be in a score folder; "
                    "choose another --out"
                )

    def _refusal(self, there: dict[str, Any], found: list[Difference]) -> str:
        """Return the error for a folder that was begun with other settings."""
        differing = in_words(found)
        if changes(there.get("fingerprint") or {}, self.fingerprint):
            return (
                f"{self.folder.url} holds scores made in another way: {differing}. "
                "Choose another --out, or continue with the scorer and options it was begun with"
            )
        if there.get("root") != self.root:
            return (
                f"{self.folder.url} holds scores of shards below {there.get('root')}, but these "
                f"shards lie below {self.root}; choose another --out for them (if the data was "
                f'moved, write its new place as "root" into {self.folder.file(MANIFEST)})'
            )
        return (
            f"{self.folder.url} holds scores of other captions or images: {differing}. Choose "
            "another --out for these (`pairsift select --join` can use both), or continue with "
            "the options it was begun with"
        )

    def listing(self) -> Listing:
        """List the folder with one request, however many tables there are."""
        names = self.folder.names()
        return Listing(
            finished=without_suffix(names, TABLE_SUFFIX),
            unreadable=without_suffix(names, UNREADABLE_SUFFIX),
        )

    def finished(self) -> set[str]:
        """Return the names (without `.parquet`) of the shards that have a table."""
        return self.listing().finished

    def is_finished(self, name: str) -> bool:
        """Return whether a shard has a table now."""
        return self.folder.exists(name + TABLE_SUFFIX)

    def expect(self, names: Iterable[str]) -> None:
        """Record which shards there are to score, for `pairsift status`."""
        known = read_shard_names(self.folder)
        merged = known | set(names)
        if merged != known:
            end = "\0" if any("\n" in name for name in merged) else "\n"
            text = "".join(f"{name}{end}" for name in sorted(merged))
            self.folder.write(SHARD_NAMES, gzip.compress(text.encode(), 6, mtime=0))

    def commit(
        self,
        name: str,
        table: pa.Table,
        facts: Mapping[str, Any],
        byte_ranges: Sequence[int] | None = None,
        checks: Sequence[int] | None = None,
    ) -> None:
        """Write one shard's table whole, with the fingerprint and facts about the shard.

        Args:
            byte_ranges: positions of the rows' samples in the shard; see
                :mod:`pairsift.byte_ranges`.
            checks: a checksum for each row; see :mod:`pairsift.byte_ranges`.
        """
        self.claim()
        metadata = {
            FINGERPRINT_KEY: json.dumps(self.fingerprint, sort_keys=True).encode(),
            FACTS_KEY: json.dumps(facts, sort_keys=True).encode(),
        }
        if byte_ranges is not None and len(byte_ranges) == 2 * table.num_rows:
            metadata[BYTE_RANGES_KEY] = encode_byte_ranges(byte_ranges)
        if checks is not None and len(checks) == table.num_rows:
            metadata[CHECKS_KEY] = encode_checks(checks)
        table, vectors = embeddings.split(table)
        if vectors is not None:
            digest = embeddings.write(self.folder, name, vectors, self.fingerprint)
            metadata[embeddings.DIGEST_KEY] = digest
        if meanings := _stored_meanings(table.schema):
            metadata[COLUMNS_KEY] = json.dumps(meanings, ensure_ascii=False).encode()
            bare = [field.remove_metadata() for field in table.schema]
            table = table.cast(pa.schema(bare))
        metadata[IDENTITY_KEY] = _digest(table, metadata)
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
        self.folder.write(name + TABLE_SUFFIX, buffer.getvalue())

    def renew(self, name: str, facts: Mapping[str, Any]) -> None:
        """Change the facts about a shard; rows and everything else in its table stay."""
        content = io.BytesIO(self.folder.read(name + TABLE_SUFFIX))
        table = pq.read_table(content)
        metadata = dict(table.schema.metadata)
        metadata[FACTS_KEY] = json.dumps(facts, sort_keys=True).encode()
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
        self.folder.write(name + TABLE_SUFFIX, buffer.getvalue())

    def record_unreadable(self, name: str, facts: Mapping[str, Any]) -> None:
        """Record that a shard could not be read; the next run tries it again."""
        content = (json.dumps(facts, sort_keys=True, indent=1) + "\n").encode()
        self.folder.write(name + UNREADABLE_SUFFIX, content)

    def forget_unreadable(self, name: str) -> None:
        """Remove that record, once the shard has its table."""
        self.folder.remove(name + UNREADABLE_SUFFIX)

    def read(self, name: str) -> tuple[pa.Table, dict[str, Any]]:
        """Return a committed table, with its embeddings, and the facts about it."""
        table, facts = read_table(self.folder, name)
        metadata = table.schema.metadata or {}
        if (digest := metadata.get(embeddings.DIGEST_KEY)) is not None:
            vectors = embeddings.read_table(self.folder, name, digest)
            for field in vectors.schema:
                table = table.append_column(field, vectors[field.name])
        return table.replace_schema_metadata(metadata), facts


def read_table(folder: Folder, name: str) -> tuple[pa.Table, dict[str, Any]]:
    """Return a shard's table and the facts about it.

    Raises:
        PairsiftError: it is not a table of Pairsift, or is damaged.
    """
    path = folder.file(name + TABLE_SUFFIX)
    content = folder.read(name + TABLE_SUFFIX)
    with telling_damage(path):
        table = read_parquet(content)
    return table, read_facts(table.schema.metadata, path)


@contextlib.contextmanager
def telling_damage(path: str) -> Iterator[None]:
    """Turn errors of broken score tables inside the block into one clear error.

    Raises:
        PairsiftError: the table is damaged.
    """
    try:
        yield
    except Exception as error:
        if not is_damage(error):
            raise
        raise PairsiftError(
            f"{path} is not a readable table ({error}); remove it and run `pairsift score` again"
        ) from error


def read_facts(metadata: Mapping[bytes, bytes] | None, path: str) -> dict[str, Any]:
    """Read what the run recorded about a shard from its table's key-value metadata.

    Raises:
        PairsiftError: the file was not written by Pairsift.
    """
    if not metadata or FACTS_KEY not in metadata:
        raise PairsiftError(
            f"{path} is not a score table of Pairsift (its metadata has no {FACTS_KEY.decode()}); "
            "choose another --out, or another folder of scores"
        )
    with telling_damage(path):
        facts: dict[str, Any] = json.loads(metadata[FACTS_KEY])
    return facts


def read_table_facts(folder: Folder, name: str) -> dict[str, Any]:
    """Read the facts about a shard from its table's footer only.

    Raises:
        PairsiftError: it is not a table of Pairsift, or is damaged.
    """
    path = folder.file(name + TABLE_SUFFIX)
    with telling_damage(path):
        metadata = _read_metadata(folder, path)
    return read_facts(metadata, path)


def _read_metadata(folder: Folder, path: str) -> Mapping[bytes, bytes]:
    """Read the key-value metadata of a parquet file from its footer only."""
    if folder.is_local:
        return pq.read_metadata(path).metadata or {}
    with folder.fs.open(path, "rb", cache_type="none") as file:
        return pq.read_metadata(file).metadata or {}


def read_shard_names(folder: Folder) -> set[str]:
    """Return the names of all shards given to runs into this folder; empty if unknown."""
    try:
        text = gzip.decompress(folder.read(SHARD_NAMES)).decode()
    except (FileNotFoundError, OSError, EOFError, ValueError):
        return set()
    return set(text.split("\0" if "\0" in text else "\n")) - {""}  # a name may hold line ends


def without_suffix(names: Iterable[str], suffix: str) -> set[str]:
    """Return the names that end with the suffix, without it."""
    return {name[: -len(suffix)] for name in names if name.endswith(suffix)}
