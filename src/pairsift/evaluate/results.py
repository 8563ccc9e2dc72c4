"""The results of an evaluation, as tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairsift.evaluate.output import markdown_page, markdown_table
from pairsift.evaluate.statistics import (
    ACCURACY,
    CORRELATIONS,
    FEWEST_IMAGES,
    Interval,
    chance_level,
)
from pairsift.pair import counts_in_words


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its interval; NaN if it is undefined.

    Attributes:
        too_few: an interval was requested, but there are too few data for a reliable one.
    """

    value: float
    interval: Interval | None = None
    too_few: bool = False

    @property
    def ends(self) -> tuple[float, float] | None:
        """The low and high end of the interval."""
        return (self.interval.low, self.interval.high) if self.interval else None

    def scaled(self, factor: float) -> Estimate:
        """Return the same in another unit, `factor` of which make one of this."""
        ends = self.interval and Interval(self.interval.low * factor, self.interval.high * factor)
        return Estimate(self.value * factor, ends, self.too_few)

    def to_json(self) -> dict[str, float | None]:
        """Return `value`, `low`, `high`; null for NaN."""
        low, high = self.ends or (None, None)
        value = self.value if math.isfinite(self.value) else None
        return {"value": value, "low": low, "high": high}

    def text(self, scale: float = 100.0, signed: bool = False) -> str:
        """Format in hundredths, as the literature does: `34.4 [33.1, 35.6]`."""
        if not math.isfinite(self.value):
            return "-"
        sign = "+" if signed else ""
        words = f"{self.value * scale:{sign}.1f}"
        if ends := self.scaled(scale).ends:
            low, high = ends
            words += f" [{low:{sign}.1f}, {high:{sign}.1f}]"
        elif self.too_few:
            words += " [too few]"
        return words


@dataclass(frozen=True, slots=True)
class ColumnResult:
    """The results of one score column of one scorer.

    Attributes:
        n: number of judgments that have a score in this column.
        statistics: by name (see :data:`pairsift.evaluate.statistics.CORRELATIONS`), or accuracy
            and `accuracy/CATEGORY`.
        difference: headline statistic minus that of the first column, on the same resamples; None
            for the first column.
        ties: fraction of the preferences where both captions have the same score.
    """

    scorer: str
    column: str
    n: int
    statistics: Mapping[str, Estimate]
    difference: Estimate | None = None
    ties: float | None = None

    @property
    def label(self) -> str:
        return f"{self.scorer} {self.column}"

    def to_json(self) -> dict[str, Any]:
        return {
            "scorer": self.scorer,
            "column": self.column,
            "n": self.n,
            **{name: estimate.to_json() for name, estimate in self.statistics.items()},
            "difference_from_first": self.difference.to_json() if self.difference else None,
            **({} if self.ties is None else {"ties": self.ties}),
        }


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The results on the judgments that have one value in a column.

    Attributes:
        by, value: the column, or several joined by ``+``, and the value.
        judgments, images: how many there are.
        columns: one per score column; empty if there are too few judgments.
        outside: by scorer, the fraction of judgments whose caption is in a language that the scorer
            was not trained for.
    """

    by: str
    value: str
    judgments: int
    images: int
    columns: list[ColumnResult]
    outside: Mapping[str, float] = field(default_factory=dict)

    def is_blind(self, column: ColumnResult, headline: str) -> bool | None:
        """Whether the interval contains the chance level or is below it; None without one."""
        ends = column.statistics[headline].ends
        return None if ends is None else ends[0] <= chance_level(headline)

    def note(self, column: ColumnResult, headline: str) -> str:
        """Remarks beside the numbers."""
        words = []
        if outside := self.outside.get(column.scorer, 0.0):
            share = "" if outside == 1 else f"{100 * outside:.0f} % "
            words.append(f"{share}outside scope")
        if self.is_blind(column, headline):
            words.append("blind")
        return ", ".join(words)

    def to_json(self, headline: str) -> dict[str, Any]:
        return {
            "by": self.by,
            "value": self.value,
            "judgments": self.judgments,
            "images": self.images,
            "outside_scope": dict(self.outside),
            "columns": [
                {**column.to_json(), "blind": self.is_blind(column, headline)}
                for column in self.columns
            ],
        }


@dataclass(slots=True)
class Evaluation:
    """The results of a whole evaluation.

    Attributes:
        title: of table and plot.
        headline: the main statistic of the protocol.
        judgments, images: how many there are.
        left_out: judgments that do not count, by reason.
        settings: the input: files, resamples, seed.
        scorers: by scorer: fingerprint, failures, pairs scored by this run, seconds.
        slices: the results on parts of the judgments.
    """

    title: str
    headline: str
    judgments: int
    images: int
    columns: list[ColumnResult]
    left_out: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    scorers: Mapping[str, Any] = field(default_factory=dict)
    slices: Sequence[SliceResult] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values, statistics in -1..1 or 0..1."""
        return {
            "title": self.title,
            "headline": self.headline,
            "judgments": self.judgments,
            "images": self.images,
            "left_out": dict(self.left_out),
            "settings": dict(self.settings),
            "scorers": dict(self.scorers),
            "columns": [column.to_json() for column in self.columns],
            "slices": [part.to_json(self.headline) for part in self.slices],
        }

    def slices_by(self) -> dict[str, list[SliceResult]]:
        """Return the slices by column."""
        return {
            by: [part for part in self.slices if part.by == by]
            for by in dict.fromkeys(part.by for part in self.slices)
        }

    def slice_tables(self) -> dict[str, tuple[list[str], list[list[str]]]]:
        """Return one table per column of slices, by title."""
        tables = {}
        for by, parts in self.slices_by().items():
            header = [by, "scorer", "n", statistic_title(self.headline), "minus first", "note"]
            rows = []
            for part in parts:
                for column in part.columns:
                    found = column.statistics[self.headline].text()
                    gap = column.difference.text(signed=True) if column.difference else ""
                    note = part.note(column, self.headline)
                    rows.append([part.value, column.label, f"{column.n:,}", found, gap, note])
                if not part.columns:
                    rows.append([part.value, "", f"{part.judgments:,}", "-", "", "too few"])
            tables[f"By {by.replace('+', ' and ')}"] = (header, rows)
        return tables

    def header_and_rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the table, as text; statistics in hundredths."""
        names = list(self.columns[0].statistics) if self.columns else []
        # The headline comes first, with its interval; the other statistics follow.
        names.sort(key=lambda name: name != self.headline)
        header = ["scorer", "column", "n", *map(statistic_title, names)]
        with_ties = any(column.ties is not None for column in self.columns)
        header += ["ties"] if with_ties else []
        header += ["minus first"] if len(self.columns) > 1 else []
        rows = []
        for column in self.columns:
            row = [column.scorer, column.column, f"{column.n:,}"]
            for name in names:
                estimate = column.statistics[name]
                shown = estimate if name == self.headline else Estimate(estimate.value)
                row.append(shown.text())
            if with_ties:
                row.append("-" if column.ties is None else f"{100 * column.ties:.1f}")
            if len(self.columns) > 1:
                row.append(column.difference.text(signed=True) if column.difference else "")
            rows.append(row)
        return header, rows

    def _estimates(self) -> Iterator[Estimate]:
        for column in [*self.columns, *(c for part in self.slices for c in part.columns)]:
            yield column.statistics[self.headline]
            if column.difference is not None:
                yield column.difference

    def markdown(self) -> str:
        """Return the title, the table and what was left out."""
        parts: list[Sequence[str]] = [markdown_table(self.header_and_rows(), left=2)]
        for title, table in self.slice_tables().items():
            parts += [[f"## {title}"], markdown_table(table, left=2)]
        return markdown_page(self.title, *parts, self.notes())

    def notes(self) -> list[str]:
        """Return the notes below the table."""
        lines = [f"{self.judgments:,} judgments on {self.images:,} images; values x 100."]
        resamples = self.settings.get("resamples")
        if resamples:
            lines.append(
                "In brackets: 95 % interval of Student's t over images; standard error from "
                f"{resamples:,} resamples of images, seed {self.settings.get('seed')}."
            )
            if any(estimate.too_few for estimate in self._estimates()):
                lines.append(
                    f"too few: fewer than {FEWEST_IMAGES} images, or no variance, so that no "
                    "interval can be computed."
                )
        lines += [f"Left out: {count:,} ({reason})." for reason, count in self.left_out.items()]
        for name, facts in self.scorers.items():
            failures = facts.get("failures") or {}
            if failures:
                lines.append(f"{name}: pairs without a score: {counts_in_words(failures)}.")
        if self.slices:
            lines.append(
                "outside scope: captions in a language that the scorer was not trained for. blind: "
                "the interval contains the chance level or lies below it; by chance, one slice in "
                "forty of a blind scorer is not called blind."
            )
        return lines


def statistic_title(name: str) -> str:
    """Return a statistic's name for people."""
    if name.startswith(f"{ACCURACY}/"):
        return name.split("/", 1)[1]
    return CORRELATIONS.get(name, name)
