"""Select the records to train on.

Teachers prefer some scores: of 40,000 answers most are near 85 or 5, and a filter trained on all of
them learns to give only these. So each metric is drawn evenly over buckets of its score, and within
a bucket evenly over clusters of captions. No common score or common topic dominates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.metrics import DEFAULT_SCALE, Scale
from pairsift.teach.records import Record

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Chosen:
    """A record that was selected for one metric."""

    record: Record
    metric: str

    @property
    def score(self) -> float:
        return self.record.scores[self.metric]


def even_quotas(available: Sequence[int], wanted: int) -> list[int]:
    """Divide `wanted` over buckets as evenly as their sizes allow.

    Args:
        available: how many records each bucket has.

    Returns:
        how many to take from each; their sum is `wanted`, or everything if there is less.
    """
    wanted = min(wanted, sum(available))
    level = 0  # every bucket gives this many, or everything it has
    while sum(min(count, level + 1) for count in available) <= wanted and level < max(available):
        level += 1
    taken = [min(count, level) for count in available]
    left = wanted - sum(taken)
    # The remainder goes to the first buckets that have more, one each.
    for bucket, count in enumerate(available):
        if left and count > level:
            taken[bucket] += 1
            left -= 1
    return taken


def bucket_of(score: float, buckets: int, scale: Scale = DEFAULT_SCALE) -> int:
    """Return the bucket number of a score; the highest belongs to the last bucket."""
    return min(int((score - scale.low) * buckets / (scale.high - scale.low)), buckets - 1)


def balance(
    records: Sequence[Record],
    clusters: NDArray[np.intp],
    metrics: Sequence[str],
    per_metric: int,
    buckets: int = 10,
    seed: int = 0,
    scales: Mapping[str, Scale] | None = None,
) -> list[Chosen]:
    """Draw records for each metric, evenly over buckets of its score, in a shuffled order.

    Args:
        clusters: cluster of each record's caption, shape (len(records),).
        per_metric: how many records for each metric, if there are so many.
        scales: by metric; 0..100 where there is none.

    Raises:
        PairsiftError: no record has a score of one of the metrics.
    """
    rng = np.random.default_rng(seed)
    chosen: list[Chosen] = []
    for metric in metrics:
        scale = (scales or {}).get(metric, DEFAULT_SCALE)
        found = _by_bucket(records, metric, buckets, scale)
        if not any(found):
            raise PairsiftError(f"no record has a score for {metric}")
        used: defaultdict[str, int] = defaultdict(int)
        for rows, quota in zip(
            found, even_quotas([len(rows) for rows in found], per_metric), strict=True
        ):
            for row in _across_clusters(rows, records, clusters, quota, used, rng):
                chosen.append(Chosen(records[row], metric))
    return [chosen[index] for index in rng.permutation(len(chosen))]


def _by_bucket(
    records: Sequence[Record], metric: str, buckets: int, scale: Scale
) -> list[list[int]]:
    """Group rows with a score by bucket; a pair that was annotated twice counts once."""
    found: list[list[int]] = [[] for _ in range(buckets)]
    seen: set[tuple[str, str]] = set()
    for row, record in enumerate(records):
        pair = (record.image, record.caption)
        if metric in record.scores and pair not in seen:
            seen.add(pair)
            found[bucket_of(record.scores[metric], buckets, scale)].append(row)
    return found


def _across_clusters(
    rows: Sequence[int],
    records: Sequence[Record],
    clusters: NDArray[np.intp],
    quota: int,
    used: defaultdict[str, int],
    rng: Random,
) -> Iterator[int]:
    """Take one record of each cluster in turn; in a cluster, least used images come first."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in rng.permutation(len(rows)):
        groups[int(clusters[rows[place]])].append(rows[place])
    queues = [groups[cluster] for cluster in rng.permutation(sorted(groups))]
    while quota > 0:
        queues = [queue for queue in queues if queue]
        for queue in queues[:quota]:
            best = min(range(len(queue)), key=lambda i: used[records[queue[i]].image])
            row = queue.pop(best)
            used[records[row].image] += 1
            yield row
        quota -= len(queues[:quota])
