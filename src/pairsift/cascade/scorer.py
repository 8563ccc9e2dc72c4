"""The cascade as a scorer: each stage scores the pairs that earlier stages left undecided."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from pairsift.cascade.columns import (
    AGREEMENT,
    AUDIT,
    READ_WHEN_OPEN,
    SCORER,
    STAGE,
    UNAUDITED,
    VALUE,
    seen_by,
    stored_names,
)
from pairsift.cascade.plan import Plan, Stage, describe_fingerprint
from pairsift.cascade.sampling import draw, is_audited
from pairsift.errors import PairsiftError
from pairsift.expressions.rows import RowValue
from pairsift.images import ImageLimits
from pairsift.manifest import changes
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Prepared, Preparer, Scorer
from pairsift.scorers.registry import load_scorer, takes_option

if TYPE_CHECKING:
    from PIL import Image

VERSION = "1"
_FIELDS = (
    pa.field(VALUE, pa.float32()),
    pa.field(UNAUDITED, pa.float32()),
    pa.field(STAGE, pa.string()),
    pa.field(AUDIT, pa.bool_()),
)
# Pairs are collected until the undecided ones about fill a batch of the full scorer, but at most
# this many batches, because all collected pairs are in memory after preprocessing.
_MOST_GATHERED = 4
_FILLED = 0.85


class CascadeInputs(NamedTuple):
    """One pair, preprocessed for every scorer; `parts` has one entry per distinct transform."""

    parts: tuple[Any, ...]
    audited: bool


class _Transforms:
    """The transforms of several scorers, applied to one decoded image. Picklable if they are."""

    def __init__(self, transforms: Sequence[Callable[[Any, str], Any]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, image: Image.Image, caption: str) -> tuple[Any, ...]:
        return tuple(transform(image, caption) for transform in self.transforms)


@dataclass(frozen=True, slots=True)
class CascadePreparer:
    """Preprocesses a pair for all stages; decodes the image only once. Picklable."""

    prepare: Preparer
    seed: int
    audit: float

    def __call__(self, pair: Pair) -> Prepared:
        row = self.prepare(pair)
        if row.status is Status.OK:
            drawn = draw(self.seed, pair.shard, pair.key)
            row.inputs = CascadeInputs(row.inputs, is_audited(drawn, self.audit))
        return row

    def limited(self, limits: ImageLimits) -> CascadePreparer:
        """Return a copy with other limits."""
        return replace(self, prepare=self.prepare.limited(limits))

    def looking(self, look: Callable[[Any], Any]) -> CascadePreparer:
        """Return a copy that also looks at the decoded image."""
        return replace(self, prepare=self.prepare.looking(look))


class CascadeScorer(Scorer):
    """Cheap scorers before an expensive one: the scorer ``cascade``.

    It has the columns of all its scorers, null where one did not score the pair. A column whose
    name a later scorer has too gets the name of its scorer in front. Its own columns are:

    - ``cascade`` float32: what to rank by. The full scorer's value if it scored the pair, else an
      estimate of it, on the side of the planned cut that the cheap scorer decided for.
    - ``cascade_unaudited`` float32: what ``cascade`` would be if the pair were not audited.
    - ``cascade_stage`` string: the scorer that decided, or would have without the audit.
    - ``cascade_audit`` bool: whether the pair is one of those that the full scorer always scores.

    Args:
        plan: the plan.
        stages: the scorers of the plan's stages, in order.
        full: the full scorer.

    Raises:
        PairsiftError: two scorers' columns would share a name, an expression of the plan names a
            column that does not exist, or a scorer's preparer is not a
            :class:`~pairsift.scorers.base.Preparer`.

    Examples:
        >>> from pairsift import load_scorer
        >>> from pairsift.cascade.plan import Plan, Stage, Thresholds
        >>> from pairsift.sources import find_shards, open_shard
        >>> heuristics = load_scorer("heuristics")
        >>> cheap = Stage("heuristics", "caption_words"), Thresholds(2, 7, (1, 7), (100, 400))
        >>> plan = Plan((cheap,), Stage("heuristics", "smaller_side"), 0.5, None, 300, 0.9, 1e-9, 0)
        >>> cascade = CascadeScorer(plan, [heuristics], heuristics)
        >>> pairs = open_shard(find_shards("pool").shards[0])
        >>> cascade.score(pairs).select(["key", "cascade"]).to_pylist()[1:3]
        [{'key': 'b', 'cascade': 100.0}, {'key': 'c', 'cascade': 100.0}]
    """

    name: ClassVar[str] = SCORER

    def __init__(self, plan: Plan, stages: Sequence[Scorer], full: Scorer) -> None:
        self.plan, self.stages, self.full = plan, tuple(stages), full
        scorers = (*stages, full)
        self._stored = stored_names(scorers)
        own = [
            field.with_name(names[field.name])
            for scorer, names in zip(scorers, self._stored, strict=True)
            for field in scorer.columns
        ]
        self.columns = (*own, *_FIELDS)
        self._types = {field.name: field.type for field in own}
        planned = (*(stage for stage, _ in plan.stages), plan.full)
        self._values = [
            RowValue(stage.by, self._schema(place)) for place, stage in enumerate(planned)
        ]
        prepare, self._part_of = join_preparers(scorers)
        self.preparer = CascadePreparer(prepare, plan.seed, plan.audit)
        gathered = _FILLED / plan.read(plan.learned.get("open", 1.0))
        self.batch_size = int(full.batch_size * min(_MOST_GATHERED, max(1.0, gathered)))
        self.scope = full.scope
        self._rows_read: list[np.ndarray] = []  # of the last batch, by each scorer
        self._fingerprint = {
            "scorer": self.name,
            "scorer_version": VERSION,
            "plan": plan.digest,
            "cut": plan.cut,
            AGREEMENT: f"{plan.agreement:g}",
            "audit": f"{plan.audit:g}",
            "stages": ", ".join(scorer.name for scorer in scorers),
            READ_WHEN_OPEN: ",".join(field.name for field in full.columns),
            **describe_fingerprint([*(stage for stage, _ in plan.stages), plan.full]),
        }

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    def score_batch(self, inputs: Sequence[CascadeInputs]) -> Mapping[str, np.ndarray]:
        batch = _Batch(self._types, self._stored, len(inputs))
        audited = np.array([pair.audited for pair in inputs], dtype=bool)
        unaudited = np.full(len(inputs), np.nan, np.float32)
        settled_by = np.full(len(inputs), self.full.name, dtype=object)
        left = np.arange(len(inputs))
        self._rows_read = []
        for place, (scorer, (_, thresholds)) in enumerate(
            zip(self.stages, self.plan.stages, strict=True)
        ):
            self._read(place, scorer, inputs, left, batch)
            value = self._values[place](batch.table(place, left))
            settled = thresholds.given_up(value) | thresholds.taken(value)
            settled_by[left[settled]] = scorer.name
            unaudited[left[settled]] = thresholds.estimate(value[settled], self.plan.threshold)
            left = left[~settled]
        read = np.union1d(left, np.flatnonzero(audited))
        last = len(self.stages)
        self._read(last, self.full, inputs, read, batch)
        value = self._values[last](batch.table(last, read)).astype(np.float32)
        cascade = unaudited.copy()
        cascade[read] = value
        unaudited[left] = cascade[left]
        return batch.columns | {
            VALUE: cascade, UNAUDITED: unaudited, STAGE: settled_by, AUDIT: audited,
        }  # fmt: skip

    def _read(
        self,
        place: int,
        scorer: Scorer,
        inputs: Sequence[CascadeInputs],
        rows: np.ndarray,
        batch: _Batch,
    ) -> None:
        """Let a scorer score some rows, with its own batch size and order."""
        self._rows_read.append(rows)
        own = {row: inputs[row].parts[self._part_of[place]] for row in rows.tolist()}
        # If the caller's batches are larger than by default, each scorer's batches may grow too.
        size = scorer.batch_size * max(1, len(inputs) // self.batch_size)
        waiting = list(own)
        order = [waiting[place] for place in scorer.order(list(own.values()))]
        count = -(-len(order) // size)
        for part in np.array_split(np.array(order, dtype=np.intp), count) if count else ():
            found = scorer.score_batch([own[row] for row in part.tolist()])
            batch.put(place, part, found)

    def novelty(self, inputs: Sequence[CascadeInputs]) -> np.ndarray | None:
        """Of each pair the first scorer's that read it and can tell by the full scorer's limit."""
        limit = self.scope and self.scope.novelty_limit
        found = np.full(len(inputs), np.nan, np.float32)
        for place, scorer in enumerate((*self.stages, self.full)):
            if limit is None or scorer.scope is None or scorer.scope.novelty_limit != limit:
                continue
            rows = self._rows_read[place]
            rows = rows[np.isnan(found[rows])]
            part = self._part_of[place]
            told = scorer.novelty([inputs[row].parts[part] for row in rows]) if len(rows) else None
            if told is not None:
                found[rows] = told
        return None if np.isnan(found).all() else found

    def _schema(self, place: int) -> pa.Schema:
        """Return the schema of the columns that the scorer at `place` may use."""
        seen = seen_by(place, self._stored)
        return pa.schema([pa.field(name, self._types[stored]) for name, stored in seen.items()])


class _Batch:
    """The columns of a batch while its stages fill them."""

    def __init__(
        self, types: Mapping[str, pa.DataType], stored: Sequence[dict[str, str]], count: int
    ) -> None:
        self._types, self._stored = types, stored
        self.columns = {
            name: np.full(count, None, object)
            if pa.types.is_string(type)
            else np.full(count, np.nan)
            for name, type in types.items()
        }

    def put(self, place: int, rows: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
        for name, values in found.items():
            self.columns[self._stored[place][name]][rows] = values

    def table(self, place: int, rows: np.ndarray) -> pa.Table:
        """Return the columns that the scorer at `place` may use, with the score table's types."""
        return pa.table(
            {
                name: pa.array(self.columns[stored][rows], from_pandas=True).cast(
                    self._types[stored]
                )
                for name, stored in seen_by(place, self._stored).items()
            }
        )


def join_preparers(scorers: Sequence[Scorer]) -> tuple[Preparer, list[int]]:
    """Return one preprocess function for several scorers, and which inputs belong to which scorer.

    Raises:
        PairsiftError: a scorer preprocesses in another way.
    """
    transforms: list[Callable[[Any, str], Any]] = []
    part_of = []
    for scorer in scorers:
        if not isinstance(scorer.preparer, Preparer):
            raise PairsiftError(
                f"scorer {scorer.name!r} cannot be part of a cascade: its preparer is not a "
                "Preparer"
            )
        transform = scorer.preparer.transform
        if transform not in transforms:
            transforms.append(transform)
        part_of.append(transforms.index(transform))
    last = scorers[-1].preparer
    assert isinstance(last, Preparer)
    return Preparer(_Transforms(transforms), last.limits), part_of


def load_stage(stage: Stage, *, device: str | None = None, beside: Scorer | None = None) -> Scorer:
    """Load one scorer of a cascade.

    Args:
        beside: a scorer that is already loaded, some of whose parts may be shared.
    """
    options: dict[str, Any] = dict(stage.options)
    for name, value in (("device", device), ("beside", beside)):
        if value is not None and takes_option(stage.scorer, name):
            options.setdefault(name, value)
    return load_scorer(stage.scorer, **options)


def load_cascade(
    *, plan: str | os.PathLike[str] | Plan, device: str | None = None
) -> CascadeScorer:
    """Load a cascade.

    Args:
        plan: the path or fsspec URL of its file, or the plan itself.
        device: of all its scorers; None takes a GPU if there is one.

    Raises:
        PairsiftError: there is no plan, or one of its scorers has changed since it was made.
    """
    if not isinstance(plan, Plan):
        plan = Plan.load(plan)
    full = load_stage(plan.full, device=device)
    stages = [load_stage(stage, device=device, beside=full) for stage, _ in plan.stages]
    for scorer, stage in zip(
        (*stages, full), (*(stage for stage, _ in plan.stages), plan.full), strict=True
    ):
        check_same(scorer, stage)
    return CascadeScorer(plan, stages, full)


def check_same(scorer: Scorer, stage: Stage) -> None:
    """Check that a scorer is the one that the plan was made with.

    Raises:
        PairsiftError: it is another one.
    """
    if differing := changes(stage.fingerprint, scorer.fingerprint):
        raise PairsiftError(
            f"the cascade was planned with another {stage.scorer}: {differing}. "
            "Make a new plan with `pairsift cascade`"
        )
