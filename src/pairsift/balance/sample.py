"""Which records to train on.

Teachers are fond of some scores: of 40,000 answers most lie near 85 or 5, and a filter trained on
them as they are learns to say nothing else. So each metric is drawn evenly over buckets of its
score, and within a bucket across clusters of captions, so that neither a popular score nor a
popular topic crowds out the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.metrics import MAX_SCORE
from pairsift.teach.records import Record

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Chosen:
    """A record, chosen for one metric."""

    record: Record
    metric: str

    @property
    def score(self) -> float:
        return self.record.scores[self.metric]


def even_quotas(available: Sequence[int], wanted: int) -> list[int]:
    """Share `wanted` as evenly as what is there allows.

    Args:
        available: how many there are in each bucket.

    Returns:
        how many to take of each; their sum is `wanted`, or all there are.
    """
    wanted = min(wanted, sum(available))
    level = 0  # the most that every bucket can give, or all it has
    while sum(min(count, level + 1) for count in available) <= wanted and level < max(available):
        level += 1
    taken = [min(count, level) for count in available]
    left = wanted - sum(taken)
    # What does not divide goes to the first that have more, one each.
    for bucket, count in enumerate(available):
        if left and count > level:
            taken[bucket] += 1
            left -= 1
    return taken


def bucket_of(score: float, buckets: int) -> int:
    """Number of the bucket of a score 0..100; 100 belongs to the last."""
    return min(int(score * buckets / MAX_SCORE), buckets - 1)


def balance(
    records: Sequence[Record],
    clusters: NDArray[np.intp],
    metrics: Sequence[str],
    per_metric: int,
    buckets: int = 10,
    seed: int = 0,
) -> list[Chosen]:
    """Draw records for each metric, evenly over buckets of its score, in a shuffled order.

    Args:
        clusters: cluster of each record's caption, shape (len(records),).
        per_metric: how many for each metric, if there are so many.

    Raises:
        PairsiftError: no record has a score of a metric.
    """
    rng = np.random.default_rng(seed)
    chosen: list[Chosen] = []
    for metric in metrics:
        found = _by_bucket(records, metric, buckets)
        if not any(found):
            raise PairsiftError(f"no record has a score for {metric}")
        used: defaultdict[str, int] = defaultdict(int)
        for rows, quota in zip(
            found, even_quotas([len(rows) for rows in found], per_metric), strict=True
        ):
            for row in _across_clusters(rows, records, clusters, quota, used, rng):
                chosen.append(Chosen(records[row], metric))
    return [chosen[index] for index in rng.permutation(len(chosen))]


def _by_bucket(records: Sequence[Record], metric: str, buckets: int) -> list[list[int]]:
    """Rows with a score, by bucket; a pair that was judged twice counts once."""
    found: list[list[int]] = [[] for _ in range(buckets)]
    seen: set[tuple[str, str]] = set()
    for row, record in enumerate(records):
        pair = (record.image, record.caption)
        if metric in record.scores and pair not in seen:
            seen.add(pair)
            found[bucket_of(record.scores[metric], buckets)].append(row)
    return found


def _across_clusters(
    rows: Sequence[int],
    records: Sequence[Record],
    clusters: NDArray[np.intp],
    quota: int,
    used: defaultdict[str, int],
    rng: Random,
) -> Iterator[int]:
    """Take one of each cluster in turn; in a cluster, images that were used least come first."""
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
