"""Fields of the samples that are carried into the score table: ``--carry url,domain``.

A score table has the same columns in every shard, so the type of each field is decided before the
first one is scored: given by the user, recorded in the score folder, or found in the first samples.
"""

from __future__ import annotations

import json
import keyword
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.scores import IDENTITY_FIELDS, MANIFEST
from pairsift.sources import ShardSet, open_shard
from pairsift.sources.fields import NoFieldError, describe, follow, list_names
from pairsift.sources.score_rows import KIND as SCORES
from pairsift.sources.tables import TYPED_TABLES
from pairsift.sources.text_files import table_extension
from pairsift.storage import Folder

TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "bool": pa.bool_(),
}
"""Types of carried columns by their names in ``--carry NAME:TYPE``."""

FINGERPRINT = "carry"
"""Key of the fingerprint of tables with carried columns."""

# Samples that are read to find types, from so many shards at most.
_SAMPLES = 200
_SHARDS = 5
# Larger integers are not exact as floating-point numbers.
_EXACT = 2**53
# Longer texts would make a table larger than its shard.
MAX_CHARACTERS = 65_536
# Sources whose fields have types; the numbers of JSON may be integers in one row and not in the
# next.
_TYPED = frozenset({"parquet", "arrow", "lance"})
# Of a query over score tables, of a report, and of the samples that writers write.
_RESERVED = re.compile(
    r"pos|filename|file_index|file_row_number|kept|compared|step\d+|copy_group|copies|"
    r"caption_index|image|caption|metadata|source|kind"
)
_NUMBER = re.compile(r"\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan))?\s*", re.ASCII)
_WORDS = frozenset({*keyword.kwlist, "null", "true", "false"})
_SPELLING = re.compile(rf"(?:(\w+)=)?(.+?)(?::({'|'.join(TYPES)}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CarriedField:
    """A field of the samples, and the column that it becomes.

    Attributes:
        name: of the column.
        path: path to the field (see :mod:`pairsift.sources.fields`).
        type: a key of `TYPES`; empty if it is not known yet.
    """

    name: str
    path: str
    type: str = ""

    @classmethod
    def parse(cls, text: str, option: str = "--carry") -> CarriedField:
        """Read ``FIELD``, ``NAME=FIELD``, each also with ``:TYPE``.

        Raises:
            PairsiftError: it has another form, or no column can have the name.
        """
        found = _SPELLING.fullmatch(text.strip())
        if found is None:
            raise PairsiftError(
                f"{option} {text!r}: give names of fields, separated by commas, for example "
                "url,domain or site=meta.domain"
            )
        given, path, kind = found.groups()
        name = given or re.sub(r"\W+", "_", path).strip("_")
        taken = name.lower() in {field.name for field in IDENTITY_FIELDS}
        if taken or _RESERVED.fullmatch(name.lower()) or name.lower() in _WORDS or not name:
            raise PairsiftError(
                f"{option} {text}: the score table cannot have a column {name!r} for it; give "
                f"another name, for example {option} own_{name or 'name'}={path}"
            )
        return cls(name, path, kind or "")

    def __str__(self) -> str:
        same = self.name == self.path
        return (
            ("" if same else f"{self.name}=") + self.path + (f":{self.type}" if self.type else "")
        )

    @property
    def column(self) -> pa.Field:
        """The column of the score table."""
        return pa.field(self.name, TYPES[self.type])

    def value(self, metadata: Mapping[str, Any]) -> Any:
        """Return the column's value for a sample with these fields.

        Raises:
            ValueError: it has a value of another type.
        """
        return _convert(_find(metadata, self.path), self.type)


def read_values(
    fields: Iterable[CarriedField], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the columns' values for a sample, and the names of those that do not fit."""
    values: dict[str, Any] = {}
    misfits: tuple[str, ...] = ()
    for field in fields:
        try:
            values[field.name] = field.value(metadata)
        except (ValueError, KeyError, TypeError, ArithmeticError):
            misfits += (field.name,)
    return values, misfits


def parse_carried(asked: Iterable[str], option: str = "--carry") -> tuple[CarriedField, ...]:
    """Read the fields that a user asks for.

    Raises:
        PairsiftError: one cannot be carried, or two become the same column.
    """
    fields = tuple(CarriedField.parse(text, option) for text in asked)
    names = [field.name.lower() for field in fields]
    for field in fields:
        if names.count(field.name.lower()) > 1:
            raise PairsiftError(
                f"{option}: two fields would become the column {field.name}; give one of them "
                f"another name, NAME={field.path}"
            )
    return fields


def find_carried(
    asked: Iterable[str], shard_set: ShardSet, out: str | None = None, option: str = "--carry"
) -> tuple[str, ...]:
    """Return the fields to carry with their types.

    Args:
        asked: as ``--carry`` has them: ``url``, ``site=meta.domain``, ``width:integer``.
        shard_set: the shards, of which the first samples are read if a type is not given.
        out: the score folder; the types of a run that was begun there are kept.
        option: the name of the user's option, for errors.

    Returns:
        each field as text with its name and type.

    Raises:
        PairsiftError: no sample read has a field, or none can be read.
    """
    if {shard.kind for shard in shard_set.shards} == {"webdataset"}:
        # As in --caption-field json.alt.
        asked = [re.sub(r"^\s*((?:\w+=)?)json\.", r"\1", text) for text in asked]
    fields = parse_carried(asked, option)
    begun = {(each.name, each.path): each.type for each in _begun(out)}
    fields = tuple(
        replace(each, type=each.type or begun.get((each.name, each.path), "")) for each in fields
    )
    if not all(each.type for each in fields):
        samples = list(islice(_samples(shard_set, option), _SAMPLES))
        kinds = {shard.kind for shard in shard_set.shards}
        fields = tuple(
            each if each.type else _typed(each, samples, kinds, option) for each in fields
        )
    return tuple(map(str, fields))


def _begun(out: str | None) -> tuple[CarriedField, ...]:
    """Return the carried fields of the run that was begun in a folder."""
    if out is None:
        return ()
    try:
        content = json.loads(Folder(out).read(MANIFEST))
        texts = json.loads(content["fingerprint"][FINGERPRINT])
        return parse_carried(texts)
    except (OSError, ValueError, KeyError, TypeError):  # the run itself tells what is wrong there
        return ()


def _samples(shard_set: ShardSet, option: str) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield the fields of the first samples, and whether numbers are text there, as in a CSV."""
    read = False
    failed: Exception | None = None
    for shard in shard_set.shards[:_SHARDS]:
        is_text = shard.kind == SCORES and table_extension(shard.url) not in TYPED_TABLES
        try:
            for pair in open_shard(shard):
                read = True
                yield pair.metadata, is_text
        except (PairsiftError, OSError) as error:
            failed = failed or error
    if isinstance(failed, PairsiftError) and not read and shard_set.shards[0].kind == SCORES:
        raise failed  # with types given, this table could not be read either
    if failed is not None and not read:
        raise PairsiftError(
            f"{option}: the types of the fields are found in the first samples, but {failed}; give "
            f"them, for example {option} url:text,width:integer"
        ) from failed


def _typed(
    field: CarriedField,
    samples: Sequence[tuple[Mapping[str, Any], bool]],
    kinds: set[str],
    option: str,
) -> CarriedField:
    """Return the field with the type that fits its values in the samples."""
    values, there = [], not samples
    why = ""
    for fields, is_text in samples:
        if not fields:
            continue
        try:
            value = follow(fields, field.path)[1]
        except NoFieldError as error:
            why = why or str(error)
            continue
        there = True
        if is_text and isinstance(value, str) and _NUMBER.fullmatch(value):
            value = _parsed(value, "integer")
        if value is not None:
            values.append(value)
    if not there:
        raise PairsiftError(
            f"{option} {field}: none of the first {len(samples):,} samples has it: "
            f"{why or 'they have no fields'}. If others have it, give its type: "
            f"{option} {field}:text ({list_names(TYPES)})"
        )
    return replace(field, type=_type_of(values, kinds <= _TYPED))


def _type_of(values: Sequence[Any], exact: bool) -> str:
    if values and all(isinstance(value, bool) for value in values):
        return "bool"
    if not values or not all(_is_number(value) for value in values):
        return "text"
    integers = [value for value in values if isinstance(value, int)]
    if exact and len(integers) == len(values):
        return "integer" if all(-(2**63) <= value < 2**63 for value in integers) else "text"
    return "number" if all(abs(value) <= _EXACT for value in integers) else "text"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _find(metadata: Mapping[str, Any], path: str) -> Any:
    if path in metadata:
        return metadata[path]
    try:
        return follow(metadata, path)[1]
    except NoFieldError:
        return None


def _convert(value: Any, kind: str) -> Any:
    """Return a value in a column's type; None for null and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "text":
        return _text(value)
    if isinstance(value, str):
        value = _parsed(value, kind)
    if value is None:
        return None
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "number" and _is_number(value):
        number = float(value)  # an OverflowError is told as any other value that does not fit
        if math.isinf(number):
            raise ValueError("infinite")
        return None if math.isnan(number) else number
    if (
        kind == "integer"
        and _is_number(value)
        and -(2**63) <= value < 2**63
        and value == int(value)
    ):
        return int(value)
    raise ValueError(describe(value))


def _parsed(text: str, kind: str) -> Any:
    """Return what a text says, for tables such as CSV, in which every field is text."""
    text = text.strip()
    if not text:
        return None
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return float(text)  # 12.0, as tables that went through pandas have integers


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float | Mapping | list):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)  # dates, decimals and the like
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS:,} characters")
    return text.encode("utf-8", "backslashreplace").decode()
