"""The results of a comparison of filters, as tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.filters import NONE, ORACLE, RANDOM
from pairsift.evaluate.downstream.training import CLASSIFICATION, RETRIEVAL
from pairsift.evaluate.output import markdown_page, markdown_table
from pairsift.evaluate.results import Estimate
from pairsift.evaluate.statistics import Interval

HEADLINES = (RETRIEVAL, CLASSIFICATION)
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class FilterResult:
    """One filter at one fraction.

    Attributes:
        pairs: number of pairs that are kept and readable.
        scores: mean over the seeds with its interval, by name: the headlines, recalls, test sets.
        minus: the headlines minus those of each baseline, paired by seed.
        quality: precision, noise_dropped and clean_kept; empty without labels.
        kept_of_kind: kept fraction of each kind of pair.
    """

    filter: str
    keep: float
    pairs: int
    scores: Mapping[str, Estimate]
    minus: Mapping[str, Mapping[str, Estimate]]
    quality: Mapping[str, float]
    kept_of_kind: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, fractions 0..1."""
        return {
            "filter": self.filter,
            "keep": self.keep,
            "pairs": self.pairs,
            "scores": {name: estimate.to_json() for name, estimate in self.scores.items()},
            "minus": {
                other: {name: estimate.to_json() for name, estimate in found.items()}
                for other, found in self.minus.items()
            },
            "quality": dict(self.quality),
            "kept_of_kind": dict(self.kept_of_kind),
        }


@dataclass(slots=True)
class Downstream:
    """The results of a whole comparison.

    Attributes:
        facts: everything that decided the results, and how long it took.
    """

    results: list[FilterResult]
    pairs: int
    seeds: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, fractions 0..1."""
        return {
            "pairs": self.pairs,
            "seeds": self.seeds,
            "facts": dict(self.facts),
            "filters": [result.to_json() for result in self.results],
        }

    def header_and_rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the main table, as text; values x 100."""
        names = [name for name in self._names() if name not in HEADLINES]
        headlines = [name for name in HEADLINES if name in self._names()]
        labelled = any(result.quality for result in self.results)
        header = ["filter", "kept", "pairs"]
        header += ["clean among kept", "noise dropped"] if labelled else []
        header += [*headlines, *(name.replace("_", " ") for name in names)]
        rows = []
        for result in self.results:
            row = [result.filter, f"{100 * result.keep:g} %", f"{result.pairs:,}"]
            if labelled:
                row += [_hundredths(result.quality.get(n)) for n in ("precision", "noise_dropped")]
            row += [result.scores[name].text() for name in headlines]
            row += [Estimate(result.scores[name].value).text() for name in names]
            rows.append(row)
        return header, rows

    def differences(self) -> tuple[list[str], list[list[str]]]:
        """Return headlines minus those of the baselines, paired by seed; values x 100."""
        others = list(dict.fromkeys(name for result in self.results for name in result.minus))
        headlines = [name for name in HEADLINES if name in self._names()]
        header = ["filter", "kept"]
        header += [f"{name} minus {other}" for name in headlines for other in others]
        rows = []
        for result in self.results:
            row = [result.filter, f"{100 * result.keep:g} %"]
            for name in headlines:
                for other in others:
                    found = result.minus.get(other, {}).get(name)
                    row.append(found.text(signed=True) if found else "")
            rows.append(row)
        return header, rows

    def kinds(self) -> tuple[list[str], list[list[str]]]:
        """Return the kept fraction of each kind of pair; values x 100."""
        kinds = list(dict.fromkeys(k for result in self.results for k in result.kept_of_kind))
        rows = [
            [
                result.filter,
                f"{100 * result.keep:g} %",
                *(_hundredths(result.kept_of_kind.get(kind)) for kind in kinds),
            ]
            for result in self.results
        ]
        return ["filter", "kept", *(kind.replace("_", " ") for kind in kinds)], rows

    def _names(self) -> list[str]:
        return list(self.results[0].scores) if self.results else []

    def markdown(self) -> str:
        """Return all tables and notes."""
        parts = [markdown_table(self.header_and_rows()), self.notes()]
        if any(result.minus for result in self.results):
            parts += [["## Differences, paired by seed"], markdown_table(self.differences())]
        if any(result.kept_of_kind for result in self.results):
            parts += [["## Kept part of each kind of pair"], markdown_table(self.kinds())]
        return markdown_page(
            "Downstream: accuracy of a model trained on what each filter keeps", *parts
        )

    def notes(self) -> list[str]:
        """Return the notes below the main table."""
        lines = [f"Pool of {self.pairs:,} pairs; values x 100; means over {self.seeds} seeds."]
        if self.seeds > 1:
            lines.append("In brackets: 95 % interval of the mean over seeds (Student's t).")
        if any(RETRIEVAL in result.scores for result in self.results):
            lines.append(f"{RETRIEVAL}: mean of R@1 and R@5, image to text and text to image.")
        if any(CLASSIFICATION in result.scores for result in self.results):
            lines.append(f"{CLASSIFICATION}: mean accuracy of the zero-shot sets.")
        if any(result.filter == ORACLE for result in self.results):
            lines.append(
                f"{ORACLE}: keeps by the true labels, clean pairs first; no scorer can know them."
            )
        return lines


def summarise(
    runs: Sequence[Mapping[str, Any]], compared_with: Sequence[str] = (NONE, RANDOM)
) -> list[FilterResult]:
    """Compute means and intervals over the seeds of every filter and fraction, in order of
    appearance.

    Args:
        runs: results of :func:`pairsift.evaluate.downstream.training.train_all`.
        compared_with: filters whose headlines are subtracted, at the same fraction or at the only
            one they have.
    """
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["filter"], run["keep"]), []).append(run)
    results = []
    for (name, keep), found in groups.items():
        scores = {
            score: mean_over_seeds([run["scores"][score] for run in found])
            for score in found[0]["scores"]
        }
        minus = {}
        for other in compared_with:
            theirs = groups.get((other, keep)) or groups.get((other, 1.0))
            if theirs and other != name:
                minus[other] = _minus(found, theirs)
        labelled = [run["quality"] for run in found if run["quality"]]
        results.append(
            FilterResult(
                name,
                keep,
                round(float(np.mean([run["pairs"] for run in found]))),
                scores,
                minus,
                {
                    part: float(np.mean([each[part] for each in labelled]))
                    for part in ("precision", "noise_dropped", "clean_kept")
                    if labelled
                },
                {
                    kind: float(np.mean([each["kept_of_kind"][kind] for each in labelled]))
                    for kind in (labelled[0]["kept_of_kind"] if labelled else ())
                },
            )
        )
    return results


def _minus(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> dict[str, Estimate]:
    by_seed = {run["seed"]: run["scores"] for run in theirs}
    pairs = [(run["scores"], by_seed[run["seed"]]) for run in ours if run["seed"] in by_seed]
    return {
        name: mean_over_seeds([mine[name] - other[name] for mine, other in pairs])
        for name in HEADLINES
        if pairs and name in pairs[0][0]
    }


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean with the 95 % interval of Student's t; without an interval if there is only
    one value.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean)
    try:
        from scipy import stats
    except ImportError as error:
        raise PairsiftError("intervals need SciPy: pip install 'pairsift[evaluate]'") from error
    deviation = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1)) * deviation
    return Estimate(mean, Interval(mean - reach, mean + reach))


def _hundredths(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"
