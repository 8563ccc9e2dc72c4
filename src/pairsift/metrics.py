"""The four quality metrics of MLM-Filter (arXiv 2403.02677), in their canonical order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pairsift.errors import PairsiftError

MIN_SCORE = 0
MAX_SCORE = 100


@dataclass(frozen=True, slots=True)
class Metric:
    """One quality of an image-text pair, scored 0 (worst) to 100 (best)."""

    name: str
    title: str
    aspect: str
    asks: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "itm",
            "Image-text matching",
            "image text matching",
            "Does the caption name what the image mainly shows?",
        ),
        Metric(
            "odf",
            "Object detail fulfillment",
            "object detail fulfillment",
            "Are numbers, colours, sizes, positions and other details given, and given right?",
        ),
        Metric(
            "ctq",
            "Caption text quality",
            "caption text quality",
            "Is the caption fluent, varied, grammatical language?",
        ),
        Metric(
            "su",
            "Semantic understanding",
            "semantic understanding",
            "Does the caption add knowledge that pixels alone do not show: names, places, roles?",
        ),
    )
}


def parse_metrics(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the requested metrics in canonical order, without repeats.

    Raises:
        PairsiftError: a name is not one of :data:`METRICS`, or none is given.
    """
    asked = names.split(",") if isinstance(names, str) else list(names)
    asked = [name.strip() for name in asked if name.strip()]
    unknown = [name for name in asked if name not in METRICS]
    if unknown or not asked:
        what = f"unknown metric {unknown[0]!r}" if unknown else "no metric given"
        raise PairsiftError(f"{what}; choose from {', '.join(METRICS)}, joined by commas")
    return tuple(name for name in METRICS if name in asked)
