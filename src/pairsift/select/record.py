"""The files of a selection: which rows are kept, and how they were chosen."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.arrow import arrow_array, is_damage, read_batches, read_parquet
from pairsift.byte_ranges import decode_byte_ranges
from pairsift.errors import PairsiftError
from pairsift.provenance import Provenance, read_provenance
from pairsift.scores import FACTS_KEY, TableIdentity, content_identity, telling_damage
from pairsift.storage import Folder

ROWS = "kept.parquet"
RECORD = "selection.json"
RECORD_KEY = b"pairsift.selection"
TABLES_KEY = b"pairsift.tables"
"""as JSON, for each score folder: names of tables, and the :class:`TableIdentity` of each"""
KEPT_SCHEMA = pa.schema(
    [
        pa.field("folder", pa.int16(), nullable=False),
        pa.field("shard", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
    ]
)

Identities = dict[str, dict[str, TableIdentity]]
"""of the tables in each score folder, by name"""


class ChangedTableError(PairsiftError):
    """A score table is not the one that the selection was made from."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Why rows were dropped.

    Attributes:
        reason: the condition as written, or another reason.
        rows: number of rows removed by this reason, after all earlier reasons. These add up.
        alone: number of rows that this condition alone would remove; None for other reasons.
    """

    reason: str
    rows: int
    alone: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The cut of one group, which keeps the best `kept` of `scorable` rows.

    Attributes:
        group: value of the ``--per`` expression; None without ``--per`` or if it is null.
        threshold: the lowest ranking value that is kept; None if no row is kept.
        ties: rows at the threshold, of which `ties_kept` are kept.
    """

    group: Any
    scorable: int
    kept: int
    threshold: float | None = None
    ties: int = 0
    ties_kept: int = 0


@dataclass(frozen=True)
class Record:
    """How a selection was made, with all that is needed to repeat it.

    Attributes:
        query: the arguments of :func:`pairsift.select.select`, also those that are None.
        inputs: per score folder: its path, the root of its source shards, number of tables and
            rows, and a digest of the tables (``content``).
        fingerprint: of the scores.
        rows: in all tables, failures included.
        failed: number of rows whose status is not ok, by status.
        dropped: other rows that are not kept, by reason, in the order of the reasons.
        cuts: where each group was cut; empty without `top` or `count`.
        kept: number of kept rows; with repeats, of draws.
        percentiles: values of the percentiles in the expressions.
        digest: of the kept rows (shards and row numbers); equal selections have equal digests.
        agreement: for scores of a cascade, how much of the selection full scoring would select
            (:meth:`pairsift.select.agreement.Agreement.to_json`); None for other scores.
        repeats: kept rows that repeat an earlier one; only a sample has any.
    """

    query: dict[str, Any]
    inputs: list[dict[str, Any]]
    fingerprint: dict[str, str]
    rows: int
    failed: dict[str, int]
    dropped: list[Drop]
    cuts: list[Cut]
    kept: int
    percentiles: dict[str, float] = field(default_factory=dict)
    digest: str = ""
    pairsift_version: str = ""
    agreement: dict[str, Any] | None = None
    repeats: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values. Infinite numbers become strings, because JSON has none."""
        return asdict(self) | {"cuts": [_finite(asdict(cut)) for cut in self.cuts]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """The inverse of :meth:`to_json`."""
        values = dict(content)
        values["dropped"] = [Drop(**drop) for drop in content["dropped"]]
        values["cuts"] = [Cut(**cut) for cut in content["cuts"]]
        values["cuts"] = [
            replace(cut, threshold=float(cut.threshold)) if isinstance(cut.threshold, str) else cut
            for cut in values["cuts"]
        ]
        return cls(**values)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class KeptShard:
    """The kept rows of one score table.

    Attributes:
        scores: folder of the table.
        shard: its name; the table is ``scores/shard.parquet``.
        rows: row numbers in the table, ascending, int32; they are also the samples' places in the
            source shard.
        identity: of the table when the selection was made; None in selections made by versions
            that did not record it.
    """

    scores: str
    shard: str
    rows: np.ndarray
    identity: TableIdentity | None = None

    @property
    def folder(self) -> Folder:
        """The score folder."""
        return Folder(self.scores)

    @property
    def path(self) -> str:
        """Path of the score table."""
        return self.folder.file(f"{self.shard}.parquet")

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Kept rows of the score table, with the given columns.

        Raises:
            ChangedTableError: the table is not the one that the selection was made from.
            PairsiftError: it is missing, or damaged.
        """
        with self._open() as file:
            table = read_parquet(file, columns)
        self._check(len(table), table.schema.metadata)
        return table.take(arrow_array(self.rows))

    def schema(self) -> pa.Schema:
        """Schema of the score table."""
        with self._open() as file:
            found = pq.ParquetFile(file, pre_buffer=False)
            self._check(found.metadata.num_rows, found.metadata.metadata)
            return found.schema_arrow

    def facts(self) -> dict[str, Any]:
        """What the scoring run recorded about the source shard: its path, kind and size."""
        with telling_damage(self.path):
            facts: dict[str, Any] = json.loads(self.metadata().get(FACTS_KEY, b"{}"))
        return facts

    def byte_ranges(self) -> np.ndarray | None:
        """Start and end in the source tar of the kept samples, (rows, 2); None if not recorded."""
        byte_ranges = decode_byte_ranges(self.metadata())
        return None if byte_ranges is None else byte_ranges[self.rows]

    def metadata(self) -> dict[bytes, bytes]:
        """The score table's key-value metadata.

        Raises:
            PairsiftError: as :meth:`table`.
        """
        with self._open() as file:
            footer = pq.read_metadata(file)
        metadata: dict[bytes, bytes] = footer.metadata or {}
        self._check(footer.num_rows, metadata)
        return metadata

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        try:
            folder = self.folder
            # Arrow reads a local file itself, without the interpreter's lock.
            local = folder.is_local
            with pa.OSFile(self.path) if local else folder.fs.open(self.path, "rb") as file:
                yield file
        except FileNotFoundError as error:
            raise PairsiftError(
                f"the score table {self.path} of this selection does not exist any more; restore "
                "it or select again"
            ) from error
        except Exception as error:
            if not is_damage(error):
                raise
            raise PairsiftError(
                f"the score table {self.path} is damaged ({error}); remove it, run `pairsift "
                "score` and select again"
            ) from error

    def _check(self, rows: int, metadata: Mapping[bytes, bytes] | None) -> None:
        if self.identity is not None:
            refuse_changed(
                self.path, self.identity, TableIdentity(rows, content_identity(metadata))
            )
        elif len(self.rows) and int(self.rows[-1]) >= rows:
            raise ChangedTableError(
                f"{self.path} has {rows} rows, fewer than when it was selected from; select again"
            )


def refuse_changed(path: str, selected: TableIdentity, now: TableIdentity) -> None:
    """Check that no score table has changed since the selection.

    Raises:
        ChangedTableError: a table is not the one that the selection was made from.
    """
    if how := selected.difference(now):
        raise ChangedTableError(
            f"the score table {path} is not the one that the selection was made from: {how}; "
            "select again"
        )


@dataclass(frozen=True)
class Selection:
    """Kept rows on disk. If `path` is None, only counts and thresholds: nothing was written.

    Attributes:
        tables: identities of the score tables at that time; empty if nothing was written, and in
            selections made by versions that did not record them.
    """

    record: Record
    path: str | None = None
    tables: Identities = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Number of kept rows."""
        return self.record.kept

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain values, for ``--json``."""
        return {"selection": self.path, **self.record.to_json()}

    @property
    def scores(self) -> list[str]:
        """The score folders; relative paths are relative to the current folder."""
        return [str(entry["scores"]) for entry in self.record.inputs]

    def rows_path(self) -> str:
        """The parquet of kept rows: folder (index into `scores`), shard, row."""
        if self.path is None:
            raise PairsiftError(
                "this selection only counted rows and wrote none; select again with --out"
            )
        return Folder(self.path).file(ROWS)

    def schema(self) -> pa.Schema:
        """Schema of the score tables. Works also if no row is kept.

        Raises:
            PairsiftError: the score tables are missing.
        """
        first = next(self.shards(), None)
        if first is not None:
            return first.schema()
        for scores in self.scores:
            for name in sorted(Folder(scores).names()):
                if name.endswith(".parquet"):
                    return self._kept(scores, name[: -len(".parquet")], []).schema()
        raise PairsiftError(
            f"the score tables of this selection are not in {' and '.join(self.scores)} any "
            "more; restore them or select again"
        )

    def provenance(self, shard: KeptShard, root: str | None = None) -> Provenance:
        """Return where the samples of a kept shard are, and what they were when scored.

        Args:
            root: where the source shards are now, if they were moved after scoring.

        Raises:
            PairsiftError: as :func:`pairsift.provenance.read_provenance` raises it.
        """
        roots = {entry["scores"]: entry.get("root") for entry in self.record.inputs}
        return read_provenance(shard.folder, shard.shard, root, roots.get(shard.scores))

    def check_columns(self, columns: Sequence[str], option: str) -> list[str]:
        """Check names of score columns; strip spaces and remove repeated names.

        Raises:
            PairsiftError: there is no such column, or a name is empty.
        """
        known = [str(name) for name in self.schema().names]
        wanted = list(dict.fromkeys(column.strip() for column in columns))
        joined = {join["name"] for join in self.record.query.get("joins") or ()}
        for column in wanted:
            if column not in known and column.partition(".")[0] in joined:
                raise PairsiftError(
                    f"{option}: {column!r} belongs to a table of --join, which a selection does "
                    "not hold; only columns of the scores can be written"
                )
            if column not in known:
                raise PairsiftError(
                    f"{option}: the scores have no column {column!r}; they have {', '.join(known)}"
                )
        return wanted

    def shards(self) -> Iterator[KeptShard]:
        """Kept rows, shard by shard, in order of folder and shard name. Memory use is constant."""
        path = self.rows_path()
        scores = self.scores
        with Folder(self.path or "").fs.open(path, "rb") as file:
            pending: tuple[int, str] | None = None
            parts: list[np.ndarray] = []
            for batch in read_batches(file):
                for key, rows in _runs(batch):
                    if key != pending and pending is not None:
                        yield self._kept(scores[pending[0]], pending[1], parts)
                        parts = []
                    pending = key
                    parts.append(rows)
            if pending is not None:
                yield self._kept(scores[pending[0]], pending[1], parts)

    def _kept(self, scores: str, shard: str, parts: Sequence[np.ndarray]) -> KeptShard:
        rows = np.concatenate(parts) if parts else np.array([], dtype=np.int32)
        return KeptShard(scores, shard, rows, self.tables.get(scores, {}).get(shard))


@contextlib.contextmanager
def rows_writer(file: IO[bytes]) -> Iterator[pq.ParquetWriter]:
    """Return a writer of kept rows, with schema `KEPT_SCHEMA`."""
    with pq.ParquetWriter(
        file,
        KEPT_SCHEMA,
        compression="zstd",
        use_dictionary=["shard"],
        column_encoding={"row": "DELTA_BINARY_PACKED"},
        write_statistics=False,  # the text of each shard's name would cost a third of the time
    ) as writer:
        yield writer


def add_record(writer: pq.ParquetWriter, selection: Selection) -> None:
    """Write the record into the metadata of the kept rows."""
    tables = [selection.tables.get(scores, {}) for scores in selection.scores]
    writer.add_key_value_metadata(
        {
            RECORD_KEY.decode(): json.dumps(selection.record.to_json()),
            TABLES_KEY.decode(): json.dumps(tables),
        }
    )


def write_copy(folder: Folder, record: Record) -> None:
    """Write a copy of the record that people can read."""
    folder.write(RECORD, (json.dumps(record.to_json(), indent=1) + "\n").encode())


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[tuple[int, str], np.ndarray]]:
    """Split a batch where the shard changes."""
    if not len(batch):
        return
    folder = np.from_dlpack(batch.column("folder"))
    shard = batch.column("shard")
    if not pa.types.is_dictionary(shard.type):
        shard = shard.dictionary_encode()
    codes = np.from_dlpack(shard.indices)
    rows = np.from_dlpack(batch.column("row"))
    changes = np.flatnonzero((folder[1:] != folder[:-1]) | (codes[1:] != codes[:-1])) + 1
    for start, stop in zip([0, *changes], [*changes, len(rows)], strict=True):
        yield (int(folder[start]), shard.dictionary[int(codes[start])].as_py()), rows[start:stop]


def read_selection(path: str | os.PathLike[str]) -> Selection:
    """Read a selection that :func:`pairsift.select.select` wrote.

    Args:
        path: folder of the selection, as a path or fsspec URL.

    Returns:
        the selection.

    Raises:
        PairsiftError: the folder holds no selection, or one of another version.

    Examples:
        >>> from pairsift.select import select
        >>> _ = select("scores", where="smaller_side >= 250", out="selection")
        >>> [(shard.shard, shard.rows.tolist()) for shard in read_selection("selection").shards()]
        [('pool', [0, 2, 3])]
    """
    folder = Folder(path)
    try:
        with folder.fs.open(folder.file(ROWS), "rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
        record = Record.from_json(json.loads(metadata[RECORD_KEY]))
        tables = [
            {shard: TableIdentity(*identity) for shard, identity in named.items()}
            for named in json.loads(metadata.get(TABLES_KEY, b"[]"))
        ]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PairsiftError(
            f"{folder.url} is not a selection (it has no {ROWS}); give the folder that "
            "`pairsift select` wrote"
        ) from error
    except (KeyError, ValueError, TypeError, pa.ArrowInvalid) as error:
        raise PairsiftError(
            f"{folder.file(ROWS)} was not written by this version of Pairsift; select again"
        ) from error
    selection = Selection(record, folder.url)
    # Selections of older versions have no identities.
    return replace(selection, tables=dict(zip(selection.scores, tables, strict=False)))
