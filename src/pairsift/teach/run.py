"""Run a teacher: from images and captions to a file of teacher records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS, Metric
from pairsift.teach.candidates import CandidateMaker
from pairsift.teach.embed import Embedder, load_embedder
from pairsift.teach.items import Item
from pairsift.teach.records import Record, write_records
from pairsift.teach.reference import ReferenceTeacher, unit_means


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a teacher's run.

    Attributes:
        records: how many records; `failed` of them have no scores.
        kinds: records by kind.
        means: mean score by metric, over the records that have one.
        bill: requests and cost of a paid teacher.
    """

    out: str
    images: int
    records: int
    failed: int
    kinds: Mapping[str, int]
    means: Mapping[str, float]
    first_errors: Sequence[str] = ()
    bill: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "out": self.out,
            "images": self.images,
            "records": self.records,
            "failed": self.failed,
            "kinds": dict(self.kinds),
            "means": dict(self.means),
            "first_errors": list(self.first_errors),
            "bill": dict(self.bill),
        }

    def text(self) -> str:
        """One line for people."""
        means = ", ".join(
            f"{metric} {value:.{1 if abs(value) >= 10 else 2}f}"
            for metric, value in self.means.items()
        )
        lines = [
            f"{self.records:,} records of {self.images:,} images in {self.out}; "
            f"mean {means or '-'}",
            "kinds: " + ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.items()),
        ]
        if self.failed:
            lines.append(f"{self.failed:,} without scores, first: {'; '.join(self.first_errors)}")
        return "\n".join(lines)


def teach_by_reference(
    items: Sequence[Item],
    out: str,
    plan: Mapping[str, int],
    *,
    embedder: str = "auto",
    alt_texts: Sequence[str] = (),
    seed: int = 0,
) -> Summary:
    """Make candidates, annotate them by the images' own captions, and write the records.

    Raises:
        PairsiftError: images have only one caption, or a plan or an embedder cannot be used.
    """
    teacher = ReferenceTeacher(items, load_embedder(embedder))
    maker = CandidateMaker(items, plan, teacher.means, alt_texts, seed)
    records = list(teacher.annotate(maker))
    facts = {**teacher.facts, "seed": seed, "candidates": dict(plan)}
    return finish(out, records, facts, len(items))


def candidate_records(
    items: Sequence[Item],
    plan: Mapping[str, int],
    *,
    embedder: str = "auto",
    alt_texts: Sequence[str] = (),
    seed: int = 0,
) -> list[Record]:
    """Make candidates without scores, for a teacher that looks at the image."""
    means = None
    if plan.get("near"):
        means = caption_means(items, load_embedder(embedder))
    maker = CandidateMaker(items, plan, means, alt_texts, seed)
    return [
        Record(items[c.image].image, c.caption, c.kind, c.source)
        for c in maker
        if c.caption.strip()
    ]


def caption_means(items: Sequence[Item], embedder: Embedder) -> np.ndarray:
    """Return the unit mean of the caption embeddings of every item, shape (n, d)."""
    vectors = embedder([text for item in items for text in item.captions])
    ends = np.cumsum([len(item.captions) for item in items])
    return unit_means(np.split(vectors, ends[:-1]))


def finish(
    out: str,
    records: Sequence[Record],
    facts: Mapping[str, Any],
    images: int,
    bill: Mapping[str, Any] | None = None,
    metrics: Sequence[Metric] = tuple(METRICS.values()),
) -> Summary:
    """Write the records and summarise them.

    Raises:
        PairsiftError: no record has a score.
    """
    errors = [f"{record.image}: {record.error}" for record in records if record.error]
    if records and len(errors) == len(records):
        raise PairsiftError(f"the teacher scored nothing; first: {errors[0]}")
    write_records(out, records, facts, metrics)
    means = {}
    for metric in metrics:
        name = metric.name
        scores = [record.scores[name] for record in records if name in record.scores]
        if scores:
            means[name] = round(float(np.mean(scores)), 2)
    return Summary(
        out,
        images,
        len(records),
        len(errors),
        dict(Counter(record.kind for record in records)),
        means,
        errors[:3],
        bill or {},
    )
