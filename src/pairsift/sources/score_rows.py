"""Tables of scores that were made elsewhere: a sample for each row, without its image."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status
from pairsift.sources.base import Shard, ShardReader, printable, valid_uid
from pairsift.sources.fields import NoFieldError, list_names, values_at
from pairsift.sources.rows import Fields, Lost
from pairsift.sources.tables import TableReader

KIND = "scores"
_ROW_DIGITS = 9
_SHOWN = 80


class ScoreRowsReader(ShardReader):
    """Reads a table (parquet, CSV, TSV, JSON lines) for `pairsift import`.

    The uid is in the column of option `uid`, else in ``uid`` if there is one. The key is in the
    column of option `key`, with that of `shard` and a slash before it if that is given too; else it
    is the row's number. A row that cannot be read, or whose uid or key cannot be used, is a pair
    with a fault. All columns are metadata; option `columns` (a JSON list of paths) says which are
    read of a parquet file.
    """

    kind: ClassVar[str] = KIND
    options: ClassVar[frozenset[str]] = frozenset(
        {"uid", "key", "shard", "columns", "separator", "encoding"}
    )

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._named = {name: options.get(name) for name in ("uid", "key", "shard")}
        self._paths = json.loads(options["columns"]) if "columns" in options else None
        self._separator, self._encoding = options.get("separator"), options.get("encoding")

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        seen: set[str] = set()
        only = None
        if self._paths is not None:
            only = [*self._paths, "uid", *filter(None, self._named.values())]
        with TableReader(self.shard.url, self._separator, self._encoding, only=only) as table:
            uid = self._named["uid"] or ("uid" if "uid" in table.columns else None)
            for option, name in self._named.items():
                if name is not None and name not in table.columns and table.columns:
                    raise PairsiftError(
                        f"{self.shard.url} has no column {name!r} (--{option}); its columns are "
                        f"{list_names(table.columns)}"
                    )
            self._refuse_repeated(table.columns, [*(self._paths or ()), uid, *self._named.values()])
            for number, entry in enumerate(table):
                if isinstance(entry, Lost):
                    fault = Fault(Status.ROW_INVALID, printable(f"line {entry.line}: {entry.why}"))
                    yield Pair(f"line-{entry.line}", None, None, self.shard.name, fault=fault)
                else:
                    yield self._pair(entry.fields, number, uid, seen)

    def _refuse_repeated(self, columns: list[str], paths: list[str | None]) -> None:
        """Refuse a table in which two columns have a name that is read."""
        for name in columns:
            is_read = any(f"{path}.".replace('"', "").startswith(f"{name}.") for path in paths)
            if is_read and columns.count(name) > 1:
                raise PairsiftError(
                    f"{self.shard.url} has {columns.count(name)} columns named {name!r}; rename "
                    "all but one"
                )

    def check(self, pair: Pair) -> int:
        """Return a checksum of the sample's names and of the values that are imported."""
        values = [
            [None if isinstance(value, NoFieldError) else value]
            for path in self._paths or pair.metadata
            for _, value in values_at(pair.metadata, path)
        ]
        return zlib.crc32(repr((pair.key, pair.uid, values)).encode("utf-8", "surrogatepass"))

    def _pair(self, fields: Fields, number: int, uid: str | None, seen: set[str]) -> Pair:
        fault = None
        key = f"{number:0{_ROW_DIGITS}}"
        if (column := self._named["key"]) is not None:
            parts = [fields.get(name) for name in (self._named["shard"], column) if name]
            if any(part is None or part == "" or part != part for part in parts):  # null, or NaN
                fault = Fault(Status.ROW_INVALID, f"row {number} has no {column}")
            else:
                key = printable("/".join(map(_plain, parts)))
                if key in seen:
                    fault = Fault(Status.DUPLICATE_KEY, "an earlier row has this key")
                seen.add(key)
        found = None if uid is None else valid_uid(fields.get(uid))
        if self._named["uid"] is not None and found is None:
            told = printable(repr(fields.get(uid or ""))[:_SHOWN])
            fault = Fault(
                Status.ROW_INVALID,
                f"the uid {told} is not 32 hexadecimal digits; other names are given with --key",
            )
        return Pair(key, None, None, self.shard.name, found, metadata=fields, fault=fault)


def _plain(value: Any) -> str:
    """Return a key as text: 12 for 12.0, as tables that went through pandas have it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
