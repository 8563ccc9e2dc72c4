"""A plan out of shards: draw a sample, let every scorer read it, set the thresholds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Scorer
from pairsift.scorers.cascade.calibrate import Calibration, calibrate
from pairsift.scorers.cascade.columns import seen_by, stored_names
from pairsift.scorers.cascade.draw import draw, is_audited
from pairsift.scorers.cascade.plan import Plan, Reading
from pairsift.scorers.cascade.scorer import load_reading
from pairsift.scores import IDENTITY_FIELDS
from pairsift.select.rows import RowValue
from pairsift.sources import Shard, ShardSet, open_shard

# Shards looked into first: a few are as good as all, unless they are small.
_SHARDS = 16
AGREEMENTS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
"""Those the trade-off is told for."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a plan is asked for; the attributes are those of :class:`~.plan.Plan`."""

    keep: float | None = 0.3
    at: float | None = None
    agreement: float = 0.98
    audit: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.at is None):
            raise PairsiftError("a cut is either --keep, a share, or --at, a value; give one")
        if self.keep is not None and not 0 < self.keep < 1:
            raise PairsiftError(f"--keep {self.keep:g} is not a share between 0 and 1")
        if not 0 < self.agreement < 1:
            raise PairsiftError(f"--agreement {self.agreement:g} is not a share between 0 and 1")
        if not 0 < self.audit <= 0.5:
            raise PairsiftError(f"--audit {self.audit:g} must be above 0 and at most 0.5")


def make_plan(
    shard_set: ShardSet,
    cheap: Sequence[Reading],
    full: Reading,
    wish: Wish | None = None,
    *,
    pairs: int = 2000,
    device: str | None = None,
    tell: Progress = lambda words: None,
) -> Plan:
    """Plan a cascade for some shards.

    Args:
        cheap: the stages, cheapest first; an empty `by` means the scorer's only column.
        full: the scorer whose selection is wanted; `by` is what it is made by.
        pairs: sample that all of them read. Those that are going to be audited are left out of it.
        tell: told in words what is being done.

    Raises:
        PairsiftError: no pair can be scored by all, a scorer or an expression is not known, or the
            cut keeps all of the sample or none.
    """
    wish = wish or Wish()
    scorer = load_reading(full, device=device)
    stages = [load_reading(reading, device=device, beside=scorer) for reading in cheap]
    scorers = (*stages, scorer)
    readings = [
        replace(reading, by=reading.by or only_column(own), fingerprint=dict(own.fingerprint))
        for reading, own in zip((*cheap, full), scorers, strict=True)
    ]
    stored = stored_names(scorers)
    tell(f"drawing {pairs:,} of the pairs of {len(shard_set.shards):,} shards")
    sample, shards = draw_sample(shard_set, pairs, wish)
    columns: dict[str, pa.ChunkedArray] = {}
    good = np.ones(len(sample), dtype=bool)
    values = []
    for place, (own, reading) in enumerate(zip(scorers, readings, strict=True)):
        tell(f"{own.name} reads {len(sample):,} pairs")
        table = own.score(sample)
        good &= pc.equal(table["status"].cast(pa.string()), Status.OK.value).to_numpy()
        columns |= {
            stored[place][name]: table[name] for name in table.column_names[len(IDENTITY_FIELDS) :]
        }
        so_far = pa.table({name: columns[kept] for name, kept in seen_by(place, stored).items()})
        values.append(RowValue(reading.by, so_far.schema)(so_far))
    good &= np.isfinite(np.array(values)).all(0)
    if not good.any():
        raise PairsiftError(
            f"none of {len(sample):,} pairs drawn could be scored by all of "
            f"{', '.join(own.name for own in scorers)}; `pairsift score` with one of them says why"
        )
    known = [value[good] for value in values]

    def at_agreement(agreement: float) -> Calibration:
        return calibrate(known[:-1], known[-1], agreement, keep=wish.keep, at=wish.at)

    found = at_agreement(wish.agreement)
    return Plan(
        tuple(zip(readings[:-1], found.rules, strict=True)),
        readings[-1],
        wish.keep,
        wish.at,
        found.threshold,
        wish.agreement,
        wish.audit,
        wish.seed,
        learned={
            "pairs": found.pairs,
            "shards": shards,
            "kept": found.kept,
            "settled": [count / found.pairs for count in found.settled],
            "open": found.open,
            "open_at_agreement": {
                f"{agreement:g}": round(at_agreement(agreement).open, 4)
                for agreement in sorted({*AGREEMENTS, wish.agreement})
            },
        },
    )


def only_column(scorer: Scorer) -> str:
    """The number a scorer gives, where it gives but one.

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


def draw_sample(shard_set: ShardSet, pairs: int, wish: Wish) -> tuple[list[Pair], int]:
    """Pairs that will not be audited, in an order that a hash decides; and from how many shards.

    Only a few shards are read, drawn at random, and from each the pairs that a hash draws.
    """
    order = sorted(shard_set.shards, key=lambda shard: draw(wish.seed, shard.name, ""))
    quota = -(-pairs // max(1, min(_SHARDS, len(order))))
    sample: list[Pair] = []
    read = 0
    for shard in order:
        if len(sample) >= pairs:
            break
        read += 1
        sample += _least(shard, quota, wish)
    return sample[:pairs], read


def _least(shard: Shard, count: int, wish: Wish) -> list[Pair]:
    drawn = heapq.nsmallest(count, _drawn(shard, wish), key=lambda pair: pair[:2])
    return [pair for _, _, pair in drawn]


def _drawn(shard: Shard, wish: Wish) -> Iterator[tuple[float, int, Pair]]:
    for place, pair in enumerate(open_shard(shard)):
        chance = draw(wish.seed, pair.shard, pair.key)
        if pair.fault is None and not is_audited(chance, wish.audit):
            yield chance, place, pair
