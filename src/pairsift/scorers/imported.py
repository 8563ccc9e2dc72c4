"""Scores that were made elsewhere, as a scorer: they are looked up, not computed.

So scores of any origin become a score folder in the same way as others: a table for each shard,
resumed after an interruption, with the positions and checksums of the samples if there is a pool.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.metrics import Metric, Scale, known_metric
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared, Scorer
from pairsift.scorers.caption_index import CAPTION_INDEX, COLUMNS, SEVERAL
from pairsift.scorers.carried_fields import FINGERPRINT, TYPES, CarriedField, read_values
from pairsift.scores import metric_field, table_bytes
from pairsift.sources import ShardSet, open_shard

NAME = "imported"
WITHOUT_IMAGES = "rows of the tables"
"""Value of ``samples`` in the fingerprint of scores that were imported without a pool."""
Ranges = Mapping[str, tuple[float, float]]
_CHUNK = 100_000
_NUMBERS = ("number", "integer")


class ScoreIndex:
    """Rows of tables by the uid or the key of their samples, in memory.

    Args:
        tables: shards of kind ``scores``.
        fields: what is kept of each row.
        by_uid: whether samples are found by their uid; else by their key.

    Attributes:
        rows: number of rows of the tables.
        lost: rows that cannot be read, or have no uid or key; `first_lost` says why.
        matched: samples found so far.
        misfits: rows with a value that does not fit, by column.
        digest: of all rows.

    Raises:
        PairsiftError: two rows of a sample have different values; a table cannot be read.
    """

    def __init__(self, tables: ShardSet, fields: Sequence[CarriedField], by_uid: bool) -> None:
        self.rows = self.lost = self.matched = 0
        self.first_lost: str | None = None
        self.misfits: Counter[str] = Counter()
        self._example = self._not_found = ""
        self._fields, self._by_uid = fields, by_uid
        self._by_shard = any("shard" in dict(shard.options) for shard in tables.shards)
        schema = pa.schema([field.column for field in fields])
        digest = hashlib.blake2b(digest_size=16)
        names = array("B")
        chunks: list[pa.Table] = []
        waiting: list[dict[str, Any]] = []

        def flush() -> None:
            chunks.append(pa.Table.from_pylist(waiting, schema))
            digest.update(table_bytes(chunks[-1]))
            waiting.clear()

        for pair in (pair for shard in tables.shards for pair in open_shard(shard)):
            self.rows += 1
            name = pair.uid if by_uid else pair.key
            repeated = pair.fault is not None and pair.fault.status is Status.DUPLICATE_KEY
            if (pair.fault is not None and not repeated) or name is None:
                self.lost += 1
                why = pair.fault.error if pair.fault else "it has no uid"
                self.first_lost = self.first_lost or f"{pair.shard}/{pair.key}: {why}"
                continue
            self._example = self._example or name
            names.frombytes(self._identity(name))
            values, misfits = read_values(fields, pair.metadata)
            waiting.append(values)
            self.misfits.update(misfits)
            if len(waiting) == _CHUNK:
                flush()
        flush()
        digest.update(names)
        self.digest = digest.hexdigest()
        self._table = pa.concat_tables(chunks).combine_chunks()
        pairs = np.frombuffer(names, dtype=">u8").reshape(-1, 2)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        self._order = order
        self._high, self._low = pairs[order, 0].astype("u8"), pairs[order, 1].astype("u8")
        self._refuse_contradictions()

    def find(self, pair: Pair) -> dict[str, Any] | None:
        """Return the values of a sample; None if no row has its name."""
        name = pair.uid if self._by_uid else self._key(pair)
        if name is None:
            return None
        self._not_found = self._not_found or name
        high, low = (int(part) for part in np.frombuffer(self._identity(name), dtype=">u8"))
        start, stop = (np.searchsorted(self._high, np.uint64(high), s) for s in ("left", "right"))
        place = start + np.searchsorted(self._low[start:stop], np.uint64(low))
        if place >= stop or self._low[place] != low:
            return None
        self.matched += 1
        return self._row(int(self._order[place]))

    def unlike(self) -> str:
        """Say why no sample was found."""
        names = "uids" if self._by_uid else "keys"
        if not self._example:
            return f"none of their {self.rows:,} rows can be used; the first, {self.first_lost}"
        theirs = f"like {self._not_found!r}" if self._not_found else "missing"
        return f"their {names} look like {self._example!r}, and those of the pool are {theirs}"

    def _key(self, pair: Pair) -> str:
        return f"{pair.shard}/{pair.key}" if self._by_shard else pair.key

    def _identity(self, name: str) -> bytes:
        if self._by_uid:
            return bytes.fromhex(name)
        return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _row(self, row: int) -> dict[str, Any]:
        return {name: self._table[name][row].as_py() for name in self._table.column_names}

    def _refuse_contradictions(self) -> None:
        same = (self._high[1:] == self._high[:-1]) & (self._low[1:] == self._low[:-1])
        for place in np.flatnonzero(same):
            one, other = (self._row(int(self._order[at])) for at in (place, place + 1))
            if one != other:
                name = f"{int(self._high[place]):016x}{int(self._low[place]):016x}"
                what = f"uid {name}" if self._by_uid else "key"
                raise PairsiftError(
                    f"two rows of the tables have the same {what} and different values, {one} and "
                    f"{other}; remove one of them"
                )


class ImportedScores(Scorer):
    """Columns of tables that were made elsewhere.

    Args:
        fields: the columns, with types.
        ranges: lowest and highest value of columns; a value outside makes the row `row_invalid`.
        index: the rows, for the samples of a pool. None if the samples are rows of the tables.
        caption_index: add the column `caption_index`, for samples with several captions each.

    Raises:
        PairsiftError: a range is of no column of numbers.
    """

    name: ClassVar[str] = NAME
    batch_size = 1024

    def __init__(
        self,
        fields: Sequence[CarriedField],
        ranges: Ranges,
        index: ScoreIndex | None = None,
        caption_index: bool = False,
    ) -> None:
        types = {field.name: field.type for field in fields}
        for name in ranges:
            if types.get(name) not in _NUMBERS:
                numbers = [field.name for field in fields if field.type in _NUMBERS]
                raise PairsiftError(
                    f"--range {name}: {name} is no column of numbers that is imported; these are: "
                    f"{', '.join(numbers) or 'none'}"
                )
        self._fields, self._ranges, self._index = tuple(fields), dict(ranges), index
        self._several = caption_index
        own = COLUMNS if caption_index else ()
        self.columns = (*own, *(_column(field, ranges.get(field.name)) for field in fields))
        self.carried = frozenset(field.name for field in self.columns)
        self.preparer = self._prepare

    @property
    def fingerprint(self) -> Mapping[str, str]:
        told = {
            "scorer": self.name,
            "scorer_version": "1",
            FINGERPRINT: json.dumps([str(field) for field in self._fields], ensure_ascii=False),
            "ranges": json.dumps(self._ranges, sort_keys=True),
            "samples": WITHOUT_IMAGES if self._index is None else "of a pool",
        }
        if self._index is not None:
            told["tables"] = self._index.digest
        return {**told, **SEVERAL} if self._several else told

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        return {}

    def _prepare(self, pair: Pair) -> Prepared:
        row = Prepared(pair.shard, pair.key, pair.uid)
        if pair.caption is not None:
            row.caption_length = len(pair.caption)
        row.carried = {}
        if self._index is None:
            row.carried, row.misfits = read_values(self._fields, pair.metadata)
        elif (values := self._index.find(pair)) is not None:
            row.carried = values
        row.inputs = ()
        if pair.fault is not None:
            return self._fail(row, pair.fault.status, pair.fault.error)
        for name, (low, high) in self._ranges.items():
            value = row.carried.get(name)
            if value is not None and not low <= value <= high:
                why = f"{name} is {value:g}, outside {low:g}..{high:g}"
                return self._fail(row, Status.ROW_INVALID, why)
        if self._several:
            row.carried = {**row.carried, CAPTION_INDEX: pair.caption_index or 0}
        return row

    def _fail(self, row: Prepared, status: Status, why: str) -> Prepared:
        """A failure has texts, such as an address, but no scores."""
        numbers = {field.name for field in self._fields if field.type in _NUMBERS}
        row.carried = {n: v for n, v in (row.carried or {}).items() if n not in numbers}
        return row.fail(status, why)


def parse_ranges(given: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Read ``NAME=LOW:HIGH``.

    Raises:
        PairsiftError: it has another form.
    """
    ranges = {}
    for name, text in given.items():
        low, colon, high = str(text).partition(":")
        try:
            ends = float(low), float(high)
        except ValueError:
            ends = math.nan, math.nan
        if not (colon and math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
            raise PairsiftError(
                f"--range {name}={text}: give the lowest and the highest value, for example "
                f"{name}=0:1"
            )
        ranges[name] = ends
    return ranges


def _column(field: CarriedField, limits: tuple[float, float] | None) -> pa.Field:
    """Return a column, which says in its metadata what it means if its range is given."""
    if limits is None:
        return field.column
    scale = Scale.listed({f"{end:.12g}": end for end in limits})
    title = known_metric(field.name).title
    asks = "A score that was made elsewhere."
    described = metric_field(Metric(field.name, title, title.lower(), asks, scale))
    return described.with_type(TYPES[field.type])
