"""The whole way from shards to a filtered subset, as one configuration says.

The selection and what is written of it are one set (see :mod:`pairsift.swap`): where a run selects
otherwise than the last one, all of it is made anew in ``next`` and then takes its place. Scores are
kept, and the report comes last.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from pairsift.cascade.report import write_agreement
from pairsift.cascade.scorer import CascadeScorer
from pairsift.config import Config, SelectSection, WriteSection
from pairsift.engines.base import Listener
from pairsift.engines.local import RunSummary, score_shards
from pairsift.errors import NothingScoredError, PairsiftError
from pairsift.pair import Status
from pairsift.report import ReportSummary, write_report
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import load_scorer
from pairsift.scores import score_schema
from pairsift.select import Selection, check_select, read_selection, select
from pairsift.select.agreement import describe_agreement
from pairsift.select.record import ROWS
from pairsift.sources import find_shards
from pairsift.storage import Folder, join, output_file
from pairsift.swap import OutputSet
from pairsift.writers import DatacompFile, WebdatasetFolder, write_datacomp, write_webdataset
from pairsift.writers.claim import MANIFEST

# Names below the run's `out`.
SCORES = "scores"
SELECTION = "selection"
SUBSET = "subset.npy"
SHARDS = "shards"
REPORT = "report.html"
_OUTPUTS = (REPORT, SELECTION, SUBSET, SHARDS)
# What tells a folder of ours, which may be replaced, from others.
_MARKS = {SELECTION: ROWS, SHARDS: MANIFEST}


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
    notes: tuple[str, ...] = ()

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

    Everything the configuration asks for is checked before the first pair is scored. Each step can
    be killed and run again: scoring and writing go on where they stopped, selecting and reporting
    take seconds and start over.

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
        separator=score.separator,
        encoding=score.encoding,
    )
    scores = join(config.out, SCORES)
    outputs = OutputSet(config.out, _OUTPUTS)  # a swap that was ended is finished with
    _refuse_others(config.out)
    scorer = scorer or load_scorer(score.scorer, **score.options)
    _check(config, scorer)
    summary = score_shards(
        shards,
        scorer,
        scores,
        batch_size=score.batch_size,
        workers=score.workers,
        max_failure_rate=score.max_failure_rate,
        listener=listener,
    )
    result = PipelineResult(config.out, summary, notes=shards.notes)
    if isinstance(scorer, CascadeScorer):
        result = replace(result, agreement=write_agreement(scores, scorer.plan))
    if not summary.skipped and (why := summary.diagnosis()) is not None:
        raise NothingScoredError(f"{why}. Its tables are kept in {scores}")
    if config.select is not None:
        result = _select_and_write(config.select, config.write, result, outputs)
    if config.report is not None:
        report = write_report(
            scores,
            result.selection.path if result.selection else None,
            join(config.out, REPORT),
            title=config.report.title,
            gallery_size=config.report.gallery_size,
        )
        result = replace(result, report=report)
    return result


def _refuse_others(out: str) -> None:
    """Refuse an `out` whose files or folders of our names are not ours.

    Raises:
        PairsiftError: naming it.
    """
    folder = Folder(out)
    for name in (SUBSET, REPORT):
        output_file(join(out, name))
    for name, mark in _MARKS.items():
        if folder.exists(name) and not folder.exists(f"{name}/{mark}"):
            raise PairsiftError(
                f"{join(out, name)} is there and is none of Pairsift's; choose another `out`"
            )


def _check(config: Config, scorer: Scorer) -> None:
    """Check the steps after scoring against the columns that the scores will have.

    Raises:
        PairsiftError: naming the section.
    """
    schema = score_schema(scorer.columns)
    if config.select is not None:
        asked = {name: value for name, value in asdict(config.select).items() if name != "seed"}
        try:
            check_select(schema, scorer.fingerprint, **asked)
        except PairsiftError as error:
            raise PairsiftError(f"[select] {error}") from error
    if config.write is not None:
        for name in config.write.add_scores:
            if name not in schema.names:
                raise PairsiftError(
                    f"[write] add_scores: the scores will have no column {name!r}; they will have "
                    f"{', '.join(schema.names)}"
                )
        if config.write.samples_per_shard < 1:
            raise PairsiftError(
                f"[write] samples_per_shard = {config.write.samples_per_shard} is not positive"
            )
    if config.report is not None and config.report.gallery_size < 0:
        raise PairsiftError(f"[report] gallery_size = {config.report.gallery_size} is negative")


def _select_and_write(
    asked: SelectSection,
    section: WriteSection | None,
    result: PipelineResult,
    outputs: OutputSet,
) -> PipelineResult:
    """Select, and write what is asked for; in place if this is the last run's selection."""
    out = result.out
    selection = select(join(out, SCORES), **asdict(asked), out=join(outputs.stage, SELECTION))
    failed = selection.record.failed
    tried = {name: count for name, count in failed.items() if not Status(name).declared}
    if tried and selection.record.rows == sum(failed.values()):  # also of a run that goes on
        why = ", ".join(f"{count:,} {status}" for status, count in tried.items())
        raise NothingScoredError(
            f"no pair has scores: all failed ({why}). Nothing was selected or written; the tables "
            f"are kept in {join(out, SCORES)}"
        )
    identity = {
        "selection": _identity(selection),
        "write": None if section is None else _plain(asdict(section)),
    }
    if outputs.current == identity:
        outputs.discard()
        return _write(section, read_selection(join(out, SELECTION)), out, result)
    outputs.begin(identity, keep=[SELECTION])
    result = _write(section, selection, outputs.stage, result)
    outputs.commit(drop=outputs.current.get("selection") != identity["selection"])
    return replace(
        result,
        selection=replace(selection, path=join(out, SELECTION)),
        datacomp=result.datacomp and replace(result.datacomp, path=join(out, SUBSET)),
        webdataset=result.webdataset and replace(result.webdataset, path=join(out, SHARDS)),
    )


def _identity(selection: Selection) -> Any:
    record = selection.record.to_json()
    return _plain({name: value for name, value in record.items() if name != "pairsift_version"})


def _plain(content: Any) -> Any:
    """As it is read back from JSON."""
    return json.loads(json.dumps(content))


def _write(
    section: WriteSection | None, selection: Selection, out: str, result: PipelineResult
) -> PipelineResult:
    datacomp = webdataset = None
    if section is not None and section.datacomp:
        datacomp = write_datacomp(selection, join(out, SUBSET))
    if section is not None and section.webdataset:
        webdataset = write_webdataset(
            selection,
            join(out, SHARDS),
            samples_per_shard=section.samples_per_shard,
            scores=section.add_scores,
        )
    return replace(result, selection=selection, datacomp=datacomp, webdataset=webdataset)
