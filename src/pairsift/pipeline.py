"""The whole way from shards to a filtered subset, as one configuration says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pairsift.cascade.report import write_agreement
from pairsift.cascade.scorer import CascadeScorer
from pairsift.config import Config, WriteSection
from pairsift.engines.base import Listener
from pairsift.engines.local import RunSummary, score_shards
from pairsift.errors import NothingScoredError
from pairsift.report import ReportSummary, write_report
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import load_scorer
from pairsift.select import Selection, select
from pairsift.select.agreement import describe_agreement
from pairsift.sources import find_shards
from pairsift.storage import join
from pairsift.writers import DatacompFile, WebdatasetFolder, write_datacomp, write_webdataset

# Names below the run's `out`.
SCORES = "scores"
SELECTION = "selection"
SUBSET = "subset.npy"
SHARDS = "shards"
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What each step did; None for a step the configuration leaves out."""

    out: str
    score: RunSummary
    agreement: dict[str, Any] | None = None
    selection: Selection | None = None
    datacomp: DatacompFile | None = None
    webdataset: WebdatasetFolder | None = None
    report: ReportSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "out": self.out,
            "score": self.score.to_json(),
            "agreement": self.agreement,
            "select": self.selection and self.selection.to_json(),
            "datacomp": self.datacomp and asdict(self.datacomp),
            "webdataset": self.webdataset and asdict(self.webdataset),
            "report": self.report and asdict(self.report),
        }

    def text(self) -> str:
        """One line a step, and the failures by reason."""
        lines = [
            f"{self.score.rows:,} pairs scored, {self.score.failures:,} failed "
            f"({self.score.pairs_per_second:,.1f} pairs/s); "
            f"{self.score.skipped:,} of {self.score.shards:,} shards were finished before",
            *self.score.failure_lines(),
        ]
        if self.agreement:
            lines.append(f"the planned cut: {describe_agreement(self.agreement)}")
        if self.selection:
            lines.append(f"{self.selection.kept:,} of {self.selection.record.rows:,} pairs kept")
        if self.datacomp:
            lines.append(f"{self.datacomp.uids:,} uids in {self.datacomp.path}")
        if self.webdataset:
            lines.append(f"{self.webdataset.samples:,} samples in {self.webdataset.path}")
        if self.report:
            lines.append(f"report in {join(self.out, REPORT)}")
        return "\n".join(lines)


def run_pipeline(
    config: Config, listener: Listener | None = None, scorer: Scorer | None = None
) -> PipelineResult:
    """Score, select, write and report.

    Each step can be killed and run again: scoring and writing go on where they stopped, selecting
    and reporting take seconds and start over.

    Args:
        scorer: in place of the one the configuration names, if it is loaded already.

    Raises:
        PairsiftError: see the steps.
    """
    score = config.score
    shards = find_shards(
        score.shards,
        score.kind,
        caption=score.caption_field,
        image=score.image_field,
        captions_file=score.captions_file,
    )
    scores = join(config.out, SCORES)
    scorer = scorer or load_scorer(score.scorer, **score.options)
    summary = score_shards(
        shards,
        scorer,
        scores,
        batch_size=score.batch_size,
        workers=score.workers,
        max_failure_rate=score.max_failure_rate,
        listener=listener,
    )
    agreement = None
    if isinstance(scorer, CascadeScorer):
        agreement = write_agreement(scores, scorer.plan)
    selection = None
    if not summary.skipped and (why := summary.diagnosis()) is not None:
        raise NothingScoredError(f"{why}. Its tables are kept in {scores}")
    if config.select is not None:
        selection = select(scores, **asdict(config.select), out=join(config.out, SELECTION))
    datacomp, webdataset = _write(config.write, selection, config.out)
    report = None
    if config.report is not None:
        report = write_report(
            scores,
            selection.path if selection else None,
            join(config.out, REPORT),
            title=config.report.title,
            gallery_size=config.report.gallery_size,
        )
    return PipelineResult(config.out, summary, agreement, selection, datacomp, webdataset, report)


def _write(
    section: WriteSection | None, selection: Selection | None, out: str
) -> tuple[DatacompFile | None, WebdatasetFolder | None]:
    if section is None or selection is None:
        return None, None
    datacomp = write_datacomp(selection, join(out, SUBSET)) if section.datacomp else None
    webdataset = None
    if section.webdataset:
        webdataset = write_webdataset(
            selection,
            join(out, SHARDS),
            samples_per_shard=section.samples_per_shard,
            scores=section.add_scores,
        )
    return datacomp, webdataset
