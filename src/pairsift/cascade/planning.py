"""Make a plan from shards: draw a sample, score it with every scorer, set the thresholds."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairsift.cascade.calibrate import Calibration, calibrate
from pairsift.cascade.columns import seen_by, stored_names
from pairsift.cascade.plan import Plan, Stage
from pairsift.cascade.sampling import draw, is_audited
from pairsift.cascade.scorer import load_stage
from pairsift.errors import PairsiftError
from pairsift.expressions.rows import RowValue
from pairsift.pair import Pair, Status
from pairsift.progress import Listener, MessageListener, NullListener
from pairsift.scorers.base import Scorer
from pairsift.scores import IDENTITY_FIELDS
from pairsift.sources import Shard, ShardSet, open_shard

# Shards that are read first; a few are enough, unless they are small.
_SHARDS = 16
AGREEMENTS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
"""Agreements for which the trade-off is printed."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a cascade is planned for.

    Attributes:
        keep: fraction of the pairs that the selection will keep, above 0 and below 1; 0.3. None if
            `at` is given.
        at: lowest value of the full scorer that the selection will keep; None if `keep` is given.
        agreement: fraction of the selection that must be the same as with full scoring, above 0
            and below 1; 0.98.
        audit: fraction of all pairs that the full scorer always scores, above 0 and at most 0.5;
            0.02.
        seed: seed of the random draws; 0.

    Raises:
        PairsiftError: a value is out of range, or not exactly one of `keep` and `at` is given.

    Examples:
        >>> PlanRequest(keep=None, at=66.0)
        PlanRequest(keep=None, at=66.0, agreement=0.98, audit=0.02, seed=0)
    """

    keep: float | None = 0.3
    at: float | None = None
    agreement: float = 0.98
    audit: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.at is None):
            raise PairsiftError(
                "the cut is either --keep, a fraction, or --at, a value; give one of them"
            )
        if self.keep is not None and not 0 < self.keep < 1:
            raise PairsiftError(f"--keep {self.keep:g} is not a fraction between 0 and 1")
        if not 0 < self.agreement < 1:
            raise PairsiftError(f"--agreement {self.agreement:g} is not a fraction between 0 and 1")
        if not 0 < self.audit <= 0.5:
            raise PairsiftError(f"--audit {self.audit:g} must be above 0 and at most 0.5")


def make_plan(
    shard_set: ShardSet,
    cheap: Sequence[Stage],
    full: Stage,
    request: PlanRequest | None = None,
    *,
    pairs: int = 2000,
    device: str | None = None,
    listener: Listener | None = None,
    tell: Callable[[str], None] | None = None,
) -> Plan:
    """Plan a cascade: score a sample with every scorer, then set the thresholds of the cheap ones.

    Args:
        shard_set: the shards to draw the sample from.
        cheap: the cheap scorers, cheapest first; an empty `by` means the scorer's only column.
        full: the scorer whose selection is wanted; its `by` is what the selection ranks by.
        request: what to plan for; None for the defaults of :class:`PlanRequest`.
        pairs: size of the sample; 2,000. Pairs that a run will audit are left out of it.
        device: device of all scorers, such as ``cuda:1``; None takes a GPU if there is one.
        listener: receives a message at each step; None for nobody.
        tell: old form of `listener`, called with one line of text; the next version removes it.

    Returns:
        the plan; write it to a file with `Plan.write`.

    Raises:
        PairsiftError: no pair can be scored by all scorers, a scorer or an expression is not
            known, or the cut keeps all of the sample or none.

    Examples:
        >>> from pairsift.cascade.plan import Stage
        >>> from pairsift.cascade.planning import PlanRequest
        >>> from pairsift.sources import find_shards
        >>> cheap, full = Stage("heuristics", "caption_words"), Stage("heuristics", "smaller_side")
        >>> plan = make_plan(find_shards("pool"), [cheap], full, PlanRequest(keep=0.5))
        >>> plan.cut, plan.threshold, plan.learned["pairs"]
        ('the best 50 % by smaller_side', 300.0, 4)
    """
    request = request or PlanRequest()
    if tell is not None:
        warnings.warn(
            "make_plan(tell=print) is now make_plan(listener=MessageListener(print))",
            DeprecationWarning,
            stacklevel=2,
        )
        listener = MessageListener(tell)
    listener = listener or NullListener()
    scorer = load_stage(full, device=device)
    stages = [load_stage(stage, device=device, beside=scorer) for stage in cheap]
    scorers = (*stages, scorer)
    planned = [
        replace(stage, by=stage.by or only_column(own), fingerprint=dict(own.fingerprint))
        for stage, own in zip((*cheap, full), scorers, strict=True)
    ]
    stored = stored_names(scorers)
    listener.message(f"drawing {pairs:,} of the pairs of {len(shard_set.shards):,} shards")
    sample, shards = draw_sample(shard_set, pairs, request)
    columns: dict[str, pa.ChunkedArray] = {}
    good = np.ones(len(sample), dtype=bool)
    values = []
    for place, (own, stage) in enumerate(zip(scorers, planned, strict=True)):
        listener.message(f"{own.name} reads {len(sample):,} pairs")
        table = own.score(sample)
        good &= pc.equal(table["status"].cast(pa.string()), Status.OK.value).to_numpy()
        columns |= {
            stored[place][name]: table[name] for name in table.column_names[len(IDENTITY_FIELDS) :]
        }
        so_far = pa.table({name: columns[kept] for name, kept in seen_by(place, stored).items()})
        values.append(RowValue(stage.by, so_far.schema)(so_far))
    good &= np.isfinite(np.array(values)).all(0)
    if not good.any():
        raise PairsiftError(
            f"none of {len(sample):,} pairs drawn could be scored by all of "
            f"{', '.join(own.name for own in scorers)}; `pairsift score` with one of them says why"
        )
    known = [value[good] for value in values]

    def at_agreement(agreement: float) -> Calibration:
        return calibrate(known[:-1], known[-1], agreement, keep=request.keep, at=request.at)

    found = at_agreement(request.agreement)
    return Plan(
        tuple(zip(planned[:-1], found.thresholds, strict=True)),
        planned[-1],
        request.keep,
        request.at,
        found.threshold,
        request.agreement,
        request.audit,
        request.seed,
        learned={
            "pairs": found.pairs,
            "shards": shards,
            "kept": found.kept,
            "settled": [count / found.pairs for count in found.settled],
            "open": found.open,
            "open_at_agreement": {
                f"{agreement:g}": round(at_agreement(agreement).open, 4)
                for agreement in sorted({*AGREEMENTS, request.agreement})
            },
        },
    )


def only_column(scorer: Scorer) -> str:
    """Return the scorer's only column.

    Raises:
        PairsiftError: it has several.
    """
    numbers = [field.name for field in scorer.columns if pa.types.is_floating(field.type)]
    if len(numbers) != 1:
        raise PairsiftError(
            f"scorer {scorer.name!r} has the columns "
            f"{', '.join(field.name for field in scorer.columns)}: say by which number it is to "
            "decide (--cheap-by)"
        )
    return str(numbers[0])


def draw_sample(shard_set: ShardSet, pairs: int, request: PlanRequest) -> tuple[list[Pair], int]:
    """Draw pairs that will not be audited, in an order given by a hash; return also the number of
    shards.

    Only a few randomly drawn shards are read, and from each the pairs that a hash selects.
    """
    order = sorted(shard_set.shards, key=lambda shard: draw(request.seed, shard.name, ""))
    quota = -(-pairs // max(1, min(_SHARDS, len(order))))
    sample: list[Pair] = []
    read = 0
    for shard in order:
        if len(sample) >= pairs:
            break
        read += 1
        sample += _least(shard, quota, request)
    return sample[:pairs], read


def _least(shard: Shard, count: int, request: PlanRequest) -> list[Pair]:
    drawn = heapq.nsmallest(count, _drawn(shard, request), key=lambda pair: pair[:2])
    return [pair for _, _, pair in drawn]


def _drawn(shard: Shard, request: PlanRequest) -> Iterator[tuple[float, int, Pair]]:
    for place, pair in enumerate(open_shard(shard)):
        chance = draw(request.seed, pair.shard, pair.key)
        if pair.fault is None and not is_audited(chance, request.audit):
            yield chance, place, pair
