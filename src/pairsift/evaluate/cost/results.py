"""Write the costs of all scorers as tables and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.evaluate.cost.projection import POOLS, Projection, count, project, significant
from pairsift.evaluate.cost.scorer_cost import ScorerCost
from pairsift.evaluate.output import Table, markdown_page, markdown_table
from pairsift.evaluate.results import Estimate

# With less than this share of a core, another program was using the machine.
_UNDISTURBED = 0.9


@dataclass(frozen=True)
class Cost:
    """The result of a whole measurement.

    Attributes:
        baseline: name of the scorer that the others are compared with.
        devices: number of devices in the projection.
        price: price of one device for an hour; None if not given.
        left_out: scorers that could not be loaded, and why.
        facts: machine, threads, pairs and their digest, versions, date.
    """

    scorers: Sequence[ScorerCost]
    baseline: str
    devices: int
    price: float | None
    left_out: Mapping[str, str]
    facts: Mapping[str, Any]

    def projections(self, scorer: ScorerCost) -> list[Projection]:
        """Return projections for DataComp's scales."""
        return project(scorer.device_rate, self.devices, self.price)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        compared = self._compared()
        return {
            "facts": dict(self.facts),
            "baseline": self.baseline,
            "scorers": [
                {
                    **scorer.to_json(),
                    "times_baseline": scorer.times(compared).to_json(),
                    "projections": [found.to_json() for found in self.projections(scorer)],
                }
                for scorer in self.scorers
            ],
            "devices": self.devices,
            "price_per_hour": self.price,
            "assumptions": self.assumptions(),
            "left_out": dict(self.left_out),
        }

    def _compared(self) -> ScorerCost:
        return next(scorer for scorer in self.scorers if scorer.name == self.baseline)

    def header_and_rows(self) -> Table:
        """Return the main table, as text."""
        gpu = any(scorer.on_gpu for scorer in self.scorers)
        dtypes = len({scorer.dtype for scorer in self.scorers if scorer.dtype}) > 1
        compared = self._compared()
        header = [
            "scorer",
            *(["dtype"] if dtypes else []),
            "pairs/s",
            f"times {self.baseline}",
            "preprocess, ms",
            "forward, ms",
        ]
        header += ["cores to feed it"] if gpu else []
        header += ["GFLOP a pair", "of peak", "memory, MiB"]
        header += ["on the GPU"] if gpu else []
        rows = []
        for scorer in self.scorers:
            row = [
                scorer.name + (" (random)" if scorer.random_weights else ""),
                *([scorer.dtype or "-"] if dtypes else []),
                _spread(scorer.rate),
                _spread(scorer.times(compared)),
                significant(scorer.prepare_ms.value),
                significant(scorer.score_ms.value),
            ]
            row += [_or_dash(scorer.cores_to_feed)] if gpu else []
            row += [
                _or_dash(scorer.flops / 1e9 or None),
                "-" if scorer.of_peak is None else f"{scorer.of_peak:.0%}",
                f"{scorer.memory.process:,.0f}",
            ]
            row += [_or_dash(scorer.memory.device)] if gpu else []
            rows.append(row)
        return header, rows

    def projection_table(self) -> Table:
        """Return the table of time, and of cost if there is a price, for DataComp's scales."""
        header = ["scorer", *(f"{count(pairs)} pairs" for pairs in POOLS)]
        rows = [
            [scorer.name, *(found.text() for found in self.projections(scorer))]
            for scorer in self.scorers
        ]
        return header, rows

    @property
    def projection_title(self) -> str:
        devices = "one device" if self.devices == 1 else f"{self.devices:,} devices"
        price = "" if self.price is None else f", and cost at {self.price:g} a device and hour"
        return f"Projected time on {devices}{price}"

    def notes(self) -> list[str]:
        """Return the notes below the main table."""
        facts = self.facts
        lines = [
            f"{facts['pairs']:,} pairs per round ({facts['source']}, {facts['mean_image_kb']:.0f} "
            "kB "
            f"and {facts['mean_caption_characters']:.0f} characters on average, "
            f"captions per image: {facts['captions_per_image']}, {facts['digest']}); rounds: "
            f"{facts['rounds']}, scorers in turns; {facts['device']}, {facts['threads']} of "
            f"{facts['cores']} cores; {facts['date'][:10]}.",
            "pairs/s: median of the rounds and their range, preprocess and forward one after the "
            "other. Preprocess (decode, resize, tokenize) runs on one core.",
            "GFLOP: operations of matrix products, convolutions and attention, padding included, "
            "counted on the same number of other pairs.",
            *_peaks(facts["matmul_peak_gflops"]),
            "memory: peak of a fresh process with only this scorer, Python and loading included.",
        ]
        if any(scorer.random_weights for scorer in self.scorers):
            lines.append("(random): random weights; the cost is real, but the scores mean nothing.")
        if (share := self._core_share()) is not None and share < _UNDISTURBED:
            lines.append(
                f"The machine was busy: scorers got {share:.0%} of a core. The ratios "
                "are more reliable than the rates, because all scorers were slowed down alike."
            )
        if self.left_out:
            told = "; ".join(f"{name} ({why})" for name, why in self.left_out.items())
            lines.append(f"Not measured: {told}.")
        return lines

    def _core_share(self) -> float | None:
        """Return the smallest share of a core that a scorer had; None if unknown."""
        if self.facts["threads"] != 1 or any(scorer.on_gpu for scorer in self.scorers):
            return None
        return min(
            statistics.median(timing.processor / timing.total for timing in scorer.timings)
            for scorer in self.scorers
        )

    def assumptions(self) -> list[str]:
        """Return the assumptions of the projection."""
        gpu = any(scorer.on_gpu for scorer in self.scorers)
        facts = self.facts
        lines = [
            f"A device is {facts['device']}"
            + ("." if gpu else f" with {facts['threads']} of its {facts['cores']} cores."),
            "Every device scores as many pairs per second as this one: time is proportional to the "
            "number of pairs and inversely proportional to the number of devices.",
            "Decoding is fast enough: each GPU has the cores that it needs (`cores to feed it`)."
            if gpu
            else "Decoding is included: it shares the device's cores with the model.",
            "Storage and network are fast enough, nothing fails, and the time to start and load "
            "(once per process) is ignored.",
            "Pairs are like those measured, in size of images, length of captions and captions per "
            f"image ({facts['captions_per_image']}).",
        ]
        if self.price is not None:
            lines.append("A device costs the same every hour, and nothing while it is not scoring.")
        return lines

    def markdown(self) -> str:
        """Return all tables, notes and assumptions."""
        return markdown_page(
            "Cost of scoring",
            markdown_table(self.header_and_rows()),
            self.notes(),
            [f"## {self.projection_title}"],
            markdown_table(self.projection_table()),
            [f"- {assumption}" for assumption in self.assumptions()],
        )


def _spread(estimate: Estimate) -> str:
    low, high = estimate.ends or (estimate.value, estimate.value)
    return f"{significant(estimate.value)} [{significant(low)}, {significant(high)}]"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else significant(value)


def _peaks(gflops: Mapping[str, float]) -> list[str]:
    if not gflops:
        return []
    told = ", ".join(f"{peak:,.0f} GFLOP/s in {dtype}" for dtype, peak in gflops.items())
    return [
        "of peak: GFLOP of forward against the best square matrix product of this run on "
        f"as many threads, {told}."
    ]
