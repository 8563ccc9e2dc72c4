"""Histograms of scores before and after balancing, as bars of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pairsift.balance.sample import Chosen, bucket_of
from pairsift.metrics import DEFAULT_SCALE, Scale
from pairsift.teach.records import Record

_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of one metric's scores by bucket, of all records and of the selected ones."""

    metric: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    scale: Scale = DEFAULT_SCALE

    def to_json(self) -> dict[str, object]:
        return {"before": list(self.before), "after": list(self.after)}

    def text(self) -> str:
        """One line per bucket; the largest bucket of each side has the longest bar."""
        count = len(self.before)
        low, width = self.scale.low, (self.scale.high - self.scale.low) / count
        digits = 0 if width >= 1 else 2
        lines = [f"{self.metric:>9} {'teacher':<{_WIDTH + 8}}   chosen"]
        for bucket, (old, new) in enumerate(zip(self.before, self.after, strict=True)):
            begin, end = low + bucket * width, low + (bucket + 1) * width
            label = f"{begin:.{digits}f}-{end:.{digits}f}"
            left = f"{old:>7,} {_bar(old, max(self.before)):<{_WIDTH}}"
            lines.append(f"{label:>9} {left}  {new:>7,} {_bar(new, max(self.after))}".rstrip())
        return "\n".join(lines)


def histograms(
    records: Sequence[Record],
    chosen: Sequence[Chosen],
    metrics: Sequence[str],
    buckets: int,
    scales: Mapping[str, Scale] | None = None,
) -> Mapping[str, Histogram]:
    """Count one histogram per metric."""
    found = {}
    for metric in metrics:
        before, after = [0] * buckets, [0] * buckets
        scale = (scales or {}).get(metric, DEFAULT_SCALE)
        for record in records:
            if metric in record.scores:
                before[bucket_of(record.scores[metric], buckets, scale)] += 1
        for choice in chosen:
            if choice.metric == metric:
                after[bucket_of(choice.score, buckets, scale)] += 1
        found[metric] = Histogram(metric, tuple(before), tuple(after), scale)
    return found


def _bar(count: int, largest: int) -> str:
    return "█" * round(_WIDTH * count / largest) if largest else ""
