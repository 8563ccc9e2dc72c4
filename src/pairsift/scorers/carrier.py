"""Rows with fields of their samples as further columns: ``--carry url,domain``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.scorers.base import Columns, Prepared, Scorer
from pairsift.scorers.carried_fields import (
    FINGERPRINT,
    CarriedField,
    parse_carried,
    read_values,
)
from pairsift.scorers.wrapped import WrappedPreparer, Wrapper


@dataclass(frozen=True, slots=True)
class _CarryingPreparer(WrappedPreparer):
    """Preprocesses pairs for a scorer and keeps fields of the sample, also if the pair fails."""

    fields: tuple[CarriedField, ...]

    def __call__(self, pair: Pair) -> Prepared:
        row = self.prepare(pair)
        row.carried, row.misfits = read_values(self.fields, pair.metadata)
        return row


class Carrier(Wrapper):
    """A scorer with further columns: fields of the samples, whatever the status of the row.

    A value that is not of the column's type is null, and counted in the shard's `source_error`.

    Args:
        scorer: its scores do not change.
        carry: the fields with their types, ``url:text`` or ``site=meta.domain:text``; see
            :func:`pairsift.scorers.carried_fields.find_carried`.

    Raises:
        PairsiftError: a field has no type, or the scorer has a column of its name.

    Examples:
        >>> from pairsift import Pair, load_scorer
        >>> scorer = Carrier(load_scorer("heuristics"), ["domain:text"])
        >>> pair = Pair("a", None, "a red square", metadata={"domain": "example.org"})
        >>> scorer.score([pair]).column("domain").to_pylist()
        ['example.org']
    """

    name: ClassVar[str] = "carrier"

    def __init__(self, scorer: Scorer, carry: Iterable[str]) -> None:
        fields = parse_carried(carry)
        own = {field.name.lower() for field in scorer.columns}
        for field in fields:
            if not field.type:
                raise PairsiftError(f"carry {field}: give its type, for example {field}:text")
            if field.name.lower() in own:
                raise PairsiftError(
                    f"--carry {field.path}: the scorer has a column {field.name} already; give "
                    f"another name, for example --carry own_{field.name}={field.path}"
                )
        super().__init__(scorer)
        self._fields = fields
        self.columns = (*scorer.columns, *carried_columns(fields))
        self.carried = frozenset(field.name for field in fields)
        self.preparer = _CarryingPreparer(scorer.preparer, fields)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        told = json.dumps([str(field) for field in self._fields], ensure_ascii=False)
        return {**self.scorer.fingerprint, FINGERPRINT: told}

    def inner(self, inputs: Sequence[Any]) -> list[Any]:
        return list(inputs)

    def collate(self, inputs: Sequence[Any]) -> Any:
        return self.scorer.collate(inputs)

    def start(self, collated: Any) -> Callable[[], Columns]:
        return self.scorer.start(collated)


def carried_columns(fields: Iterable[CarriedField]) -> tuple[pa.Field, ...]:
    """Return the columns of carried fields."""
    return tuple(field.column for field in fields)
