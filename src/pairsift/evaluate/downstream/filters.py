"""The filters to compare, each as an order of the pool's pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pairsift.arrow import read_parquet
from pairsift.engines.named_pairs import score_columns
from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import Pool
from pairsift.metrics import METRICS, Metric
from pairsift.pair import Status
from pairsift.scores import IDENTITY_FIELDS, TABLE_SUFFIX
from pairsift.storage import Folder

Floats = NDArray[np.float64]

NONE, RANDOM, ORACLE = "none", "random", "labels"
_BASIC = "datacomp_basic"
_IDENTITY = frozenset(field.name for field in IDENTITY_FIELDS)


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the pairs with the highest scores.

    Attributes:
        scores: one per pair of the pool, NaN for pairs that could not be scored; None keeps all.
    """

    name: str
    scores: Floats | None

    def keep(self, fraction: float, pairs: int, seed: int) -> NDArray[np.int64]:
        """Return the rows that are kept, ascending: the best `fraction` of the pool.

        Ties are broken at random by the seed, so a filter whose scores are all equal is a random
        one.
        """
        if self.scores is None:
            return np.arange(pairs)
        coins = np.random.default_rng(seed).permutation(pairs)
        order = np.lexsort((coins, -np.nan_to_num(self.scores, nan=-np.inf)))
        return np.sort(order[: max(1, round(fraction * pairs))])


def baselines(pool: Pool) -> list[Filter]:
    """Return the filters without a scorer: none, random and, if there are labels, a perfect one."""
    found = [Filter(NONE, None), Filter(RANDOM, np.zeros(len(pool)))]
    if pool.clean is not None:
        found.append(Filter(ORACLE, pool.clean.astype(np.float64)))
    return found


def filters_of(
    scorer: str, columns: Mapping[str, Floats], described: Mapping[str, Metric] = METRICS
) -> list[Filter]:
    """Return the filters that a scorer's columns make.

    Each of the scorer's metrics makes one, and so do their intersection and union by rank: the
    smaller (AND) or the larger (OR) of two percentile ranks. `heuristics` makes DataComp's basic
    filter; random ones of its survivors are kept. Any other column makes one filter.
    """
    short = scorer.rstrip("/").rsplit("/", 1)[-1]
    if _BASIC in columns:
        return [Filter(short, columns[_BASIC])]
    metrics = {
        name: -columns[name] if described[name].better == "lower" else columns[name]
        for name in described
        if name in columns and np.isfinite(columns[name]).any()
    }
    if not metrics:
        single = len(columns) == 1
        return [
            Filter(short if single else f"{short} {name}", values)
            for name, values in columns.items()
        ]
    found = [Filter(f"{short} {name}", values) for name, values in metrics.items()]
    ranks = {name: percentile_ranks(values) for name, values in metrics.items()}
    first = list(ranks)[:2]
    if len(first) == 2:
        both = np.stack([ranks[name] for name in first])
        found.append(Filter(f"{short} {' AND '.join(first)}", both.min(0)))
        found.append(Filter(f"{short} {' OR '.join(first)}", both.max(0)))
    if len(ranks) > 2:
        found.append(
            Filter(f"{short} {' AND '.join(ranks)}", np.stack(list(ranks.values())).min(0))
        )
    return found


def percentile_ranks(values: Floats) -> Floats:
    """Return the fraction of the other values that are lower, ties counted half; NaN is lowest."""
    known = np.nan_to_num(values, nan=-np.inf)
    ordered = np.sort(known)
    below = np.searchsorted(ordered, known, "left")
    upto = np.searchsorted(ordered, known, "right")
    ranks: Floats = (below + upto) / (2 * len(values))
    return ranks


def read_scores(folder: str, places: Sequence[tuple[str, str]]) -> dict[str, Floats]:
    """Read columns of score tables in the order of the pool, NaN where a pair has no score.

    Only columns that rank pairs are read: no standard deviations and no modes, because modes mostly
    tie.

    Raises:
        PairsiftError: a shard of the pool has no table, or no pair has a score.
    """
    source = Folder(folder)
    rows_of: dict[str, dict[str, int]] = {}
    for row, (shard, key) in enumerate(places):
        rows_of.setdefault(shard, {})[key] = row
    columns: dict[str, Floats] = {}
    scored = 0
    for shard, rows in rows_of.items():
        try:
            content = source.read(shard + TABLE_SUFFIX)
        except FileNotFoundError:
            raise PairsiftError(
                f"{folder} has no scores of shard {shard}: it could not be read when it was "
                "scored; run again, or leave it out of the pool"
            ) from None
        table = read_parquet(content)
        names = [name for name in score_columns(table.schema) if not name.endswith("_top")]
        names = [_BASIC] if _BASIC in table.column_names else names
        names = [name for name in names if name not in _IDENTITY]
        good = np.array([s == Status.OK.value for s in table["status"].to_pylist()], dtype=bool)
        keys = table["key"].to_pylist()
        here = np.array([rows.get(key, -1) for key in keys], np.int64)
        use = good & (here >= 0)
        scored += int(use.sum())
        for name in names:
            values = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
            columns.setdefault(name, np.full(len(places), np.nan))[here[use]] = values[use]
    if not scored:
        raise PairsiftError(f"no pair of the pool has a score in {folder}")
    return columns


@dataclass(frozen=True, slots=True)
class Quality:
    """What a filter kept, compared with the labels.

    Attributes:
        precision: fraction of the kept pairs that are clean.
        noise_dropped: fraction of the noise that was not kept (recall of the noise).
        clean_kept: fraction of the clean pairs that was kept.
        kept_of_kind: kept fraction of each kind.
    """

    precision: float
    noise_dropped: float
    clean_kept: float
    kept_of_kind: Mapping[str, float]


def quality(pool: Pool, rows: NDArray[np.int64]) -> Quality | None:
    """Measure a subset; None if the pool has no labels."""
    if pool.clean is None or pool.kinds is None:
        return None
    kept = np.zeros(len(pool), bool)
    kept[rows] = True
    noise = ~pool.clean
    return Quality(
        precision=float(pool.clean[rows].mean()),
        noise_dropped=float(1 - kept[noise].mean()) if noise.any() else float("nan"),
        clean_kept=float(kept[pool.clean].mean()) if pool.clean.any() else float("nan"),
        kept_of_kind={
            str(kind): float(kept[pool.kinds == kind].mean()) for kind in dict.fromkeys(pool.kinds)
        },
    )
