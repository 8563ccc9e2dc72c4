"""Scorers for other tools: small to pickle, and loaded once per process where they are used."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.rows import RowFilter
from pairsift.integrations.images import encoded_image
from pairsift.pair import Fault, Pair, Status
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import check_scorer, entries, known_columns, load_scorer
from pairsift.scores import IDENTITY_FIELDS

ScorerLike = str | os.PathLike[str] | Scorer

#: Columns of every score table that other tools do not have: the result of the pair.
OUTCOME_FIELDS = tuple(
    pa.field(field.name, pa.string() if field.name == "status" else field.type)
    for field in IDENTITY_FIELDS
    if field.name not in ("shard", "key", "uid")
)
# Scorers in memory at a time; an evaluation rarely needs more.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class LazyScorer:
    """A scorer by name, loaded when needed; it is pickled as its name and options."""

    name: str
    options: bytes

    def load(self) -> Scorer:
        """Return the scorer; equal references share it within a process."""
        return _load(self.name, self.options)


@dataclass(frozen=True, slots=True)
class LoadedScorer:
    """A scorer that is already loaded; it must be picklable to be used in other processes."""

    scorer: Scorer

    def load(self) -> Scorer:
        """Return the scorer."""
        return self.scorer


def lazy_scorer(scorer: ScorerLike, **options: Any) -> LazyScorer | LoadedScorer:
    """Make a reference to a scorer.

    Args:
        scorer: a name or a checkpoint's folder as in :func:`pairsift.load_scorer`, or a scorer.
        options: as for :func:`pairsift.load_scorer`.

    Raises:
        PairsiftError: options are given for a scorer that is already loaded.
    """
    if isinstance(scorer, Scorer):
        if given := [name for name, value in options.items() if value is not None]:
            raise PairsiftError(
                f"the scorer is already loaded, so {given[0]} cannot be changed any more"
            )
        return LoadedScorer(scorer)
    # Pickled, because a prompt pack cannot be hashed.
    return LazyScorer(os.fspath(scorer), pickle.dumps(sorted(options.items())))


@lru_cache(maxsize=_KEPT)
def _load(name: str, options: bytes) -> Scorer:
    return load_scorer(name, **dict(pickle.loads(options)))


class BatchScorer:
    """A scorer and a condition for the batches of a pipeline; picklable.

    Names, options and the condition are checked at once, without the model's weights. The model is
    loaded with the first batch, once per process.

    Args:
        scorer: name of a scorer, folder of a checkpoint, or a loaded scorer.
        options: of the scorer, as for :func:`pairsift.load_scorer`.
        where: condition over the score columns; None lets every pair pass, also without scores.
        batch_size: pairs per forward pass; None for the scorer's default.

    Attributes:
        fields: the columns of :meth:`score`.

    Raises:
        PairsiftError: there is no such scorer or option, or the condition names an unknown column.
    """

    def __init__(
        self,
        scorer: ScorerLike,
        options: Mapping[str, Any],
        *,
        where: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        self._reference = lazy_scorer(scorer, **options)
        self.fields = known_fields(scorer, options)
        self._passes = None if where is None else RowFilter(where, pa.schema(self.fields))
        self._batch_size = batch_size

    def load(self) -> None:
        """Load the model now, and not with the first batch."""
        self._reference.load()

    def score(self, pairs: Iterable[Pair]) -> pa.Table:
        """Return a row per pair: the result, then the scores."""
        return outcomes(self._reference.load().score(pairs, self._batch_size), self.fields)

    def passes(self, table: pa.Table) -> np.ndarray:
        """Return (rows,) bool: whether each row of :meth:`score` passes the condition."""
        return np.ones(len(table), bool) if self._passes is None else self._passes(table)


def known_fields(scorer: ScorerLike, options: Mapping[str, Any]) -> list[pa.Field]:
    """Return what :func:`outcome_columns` does, without the model's weights where that is possible.

    Raises:
        PairsiftError: there is no such scorer or option.
    """
    if isinstance(scorer, Scorer):
        return outcome_columns(scorer)
    check_scorer(scorer, **options)
    columns = known_columns(scorer, **options)
    if columns is None:
        return outcome_columns(lazy_scorer(scorer, **options).load())
    return [*OUTCOME_FIELDS, *columns]


def takes_option(scorer: str | os.PathLike[str], option: str) -> bool:
    """Return whether a scorer has an option.

    For a checkpoint's folder, only ``device`` is known, which all scorers with a model have.
    """
    entry = entries().get(os.fspath(scorer))
    if entry is None:
        return option == "device"
    return option in inspect.signature(entry.load()).parameters


def make_pair(image: Any, caption: Any, key: str) -> Pair:
    """Make a pair from a tool's data; what cannot be read becomes a fault, never an exception.

    Args:
        image: as for :func:`pairsift.integrations.images.encoded_image`.
        caption: text; None if there is none.
    """
    encoded = encoded_image(image)
    fault = None
    if isinstance(encoded, Fault):
        encoded, fault = None, encoded
    if caption is not None and not isinstance(caption, str):
        kind = type(caption).__name__
        caption, fault = None, fault or Fault(Status.CAPTION_INVALID, f"not text but a {kind}")
    return Pair(key, encoded, caption, fault=fault)


def make_pairs(images: Iterable[Any], captions: Iterable[Any]) -> Iterator[Pair]:
    """Return pairs of columns of equal length, with their places as keys; see :func:`make_pair`."""
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        yield make_pair(image, caption, str(place))


def score_values(
    scorer: Scorer,
    images: Iterable[Any],
    captions: Iterable[Any],
    batch_size: int | None = None,
) -> pa.Table:
    """Score lists of images and captions; keys are positions (see :meth:`Scorer.score`)."""
    return scorer.score(make_pairs(images, captions), batch_size)


def outcome_columns(scorer: Scorer) -> list[pa.Field]:
    """Return the fields that a scored sample gets: its status, then the scorer's columns."""
    return [*OUTCOME_FIELDS, *scorer.columns]


def outcomes(table: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """Return these columns of a score table, in plain types."""
    columns = [table[field.name].cast(field.type) for field in fields]
    return pa.table(columns, schema=pa.schema(fields))


def number_columns(scorer: Scorer, asked: str | Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the names of score columns to average.

    Args:
        asked: names; None for the metrics that the scorer has, or all its columns of numbers
            where it has none.

    Raises:
        PairsiftError: the scorer has no such column, or it does not hold numbers.
    """
    numbers = [
        field.name
        for field in scorer.columns
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    ]
    if asked is None:
        return tuple(name for name in numbers if name in scorer.described) or tuple(numbers)
    wanted = (asked,) if isinstance(asked, str) else tuple(asked)
    for name in wanted:
        if name not in numbers:
            raise PairsiftError(
                f"the scorer has no column of numbers {name!r}; it has {', '.join(numbers)}"
            )
    return wanted
