"""Run all steps from shards to a filtered subset, as one configuration says.

The selection and its written outputs are one set (see :mod:`pairsift.swap`): if a run selects
otherwise than the last one, all of them are made again in ``next`` and then replace the old ones.
Scores are kept, and the report comes last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from math import inf
from typing import Any

from pairsift import steps
from pairsift.cascade.report import write_agreement
from pairsift.cascade.scorer import CascadeScorer
from pairsift.config import Config
from pairsift.dedup import DedupSummary, check_dedup
from pairsift.embeddings import IMAGE, without_embeddings
from pairsift.engines.base import RunSummary
from pairsift.errors import NothingScoredError, PairsiftError
from pairsift.hashing import SHA
from pairsift.options import SelectOptions, WriteOptions
from pairsift.pair import Status
from pairsift.progress import Listener
from pairsift.report import ReportSummary
from pairsift.report.build import PAGE
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import known_columns, load_scorer
from pairsift.scorers.wrapped import Wrapper
from pairsift.scores import TABLE_SUFFIX, read_shard_names, score_schema, without_suffix
from pairsift.select import Selection, check_select, read_selection
from pairsift.select.agreement import describe_agreement
from pairsift.select.record import ROWS
from pairsift.similarity.negclip import check_neg_clip_loss
from pairsift.similarity.normsim import check_normsim
from pairsift.similarity.output import VALUES, Values
from pairsift.similarity.semantic import SemanticGroups
from pairsift.storage import Folder, join, output_file
from pairsift.swap import OutputSet
from pairsift.writers.datacomp import SUBSET
from pairsift.writers.manifest import MANIFEST
from pairsift.writers.parquet import LIST
from pairsift.writers.registry import BUILT_IN, Written, outputs_of, refuse_repeats, write_outputs

# File and folder names in the run's `out`.
SCORES = "scores"
COPIES = "copies"
NORMSIM = "normsim.parquet"
NEG_CLIP_LOSS = "neg_clip_loss.parquet"
ALIKE = "alike"
SELECTION = "selection"
REPORT = "report.html"
_FILES = {entry.name: entry.file for entry in BUILT_IN}
# Files that mark our own folders, which may be replaced.
_MARKS = {SELECTION: ROWS} | {
    _FILES[name]: MANIFEST for name in ("webdataset", "buckets", "dataset")
}


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """The result of each step; None for a step that the configuration leaves out."""

    out: str
    score: RunSummary
    dedup: DedupSummary | None = None
    normsim: Values | None = None
    neg_clip_loss: Values | None = None
    semantic_duplicates: SemanticGroups | None = None
    agreement: dict[str, Any] | None = None
    selection: Selection | None = None
    written: Mapping[str, Any] = field(default_factory=dict)
    report: ReportSummary | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {
            "out": self.out,
            "score": self.score.to_json(),
            "dedup": self.dedup and asdict(self.dedup),
            "normsim": self.normsim and asdict(self.normsim),
            "neg_clip_loss": self.neg_clip_loss and asdict(self.neg_clip_loss),
            "semantic_duplicates": self.semantic_duplicates and asdict(self.semantic_duplicates),
            "agreement": self.agreement,
            "select": self.selection and self.selection.to_json(),
            **dict.fromkeys(_FILES),
            **{name: asdict(outcome) for name, outcome in self.written.items()},
            "report": self.report and asdict(self.report),
        }

    def text(self) -> str:
        """One line per step, and the failures by reason."""
        lines = [
            f"{self.score.rows:,} pairs scored, {self.score.failures:,} failed "
            f"({self.score.pairs_per_second:,.1f} pairs/s); "
            f"{self.score.skipped:,} of {self.score.shards:,} shards were finished before",
            *self.score.failure_lines(),
        ]
        for made in (self.dedup, self.normsim, self.neg_clip_loss, self.semantic_duplicates):
            lines += made.lines() if made else []
        if self.agreement:
            lines.append(f"the planned cut: {describe_agreement(self.agreement)}")
        if self.selection:
            lines.append(f"{self.selection.kept:,} of {self.selection.record.rows:,} pairs kept")
        lines += [line for outcome in self.written.values() for line in outcome.lines()]
        if self.report:
            lines.append(f"report in {join(self.out, REPORT)}")
        return "\n".join(lines)


def run_pipeline(
    config: Config, listener: Listener | None = None, scorer: Scorer | None = None
) -> PipelineResult:
    """Score, select, write and report.

    All settings are checked before the first pair is scored. Each step can be killed and run again:
    scoring and writing resume, selecting and reporting take seconds and start again.

    Args:
        scorer: a loaded scorer to use instead of the one that the configuration names.

    Raises:
        PairsiftError: as the steps raise it.
    """
    steps.check_score(config.score)
    shards = steps.find_input(config.score.shards, config.score)
    scores = join(config.out, SCORES)
    others = config.write.to.values() if config.write else ()
    # Done first: it finishes an interrupted swap, whose half-moved outputs would be refused below.
    outputs = OutputSet(config.out, (REPORT, SELECTION, *_FILES.values(), *others))
    _refuse_others(config.out)
    config = replace(config, score=steps.with_types(config.score, shards, scores))
    if scorer is None and steps.loads_here(config.score):
        scorer = load_scorer(config.score.scorer, **steps.scorer_options(config.score))
    _check(config, scorer)
    summary = steps.score(config.score, shards, scores, listener, scorer)
    result = PipelineResult(config.out, summary, notes=shards.notes)
    if (cascade := _cascade(scorer)) is not None:
        result = replace(result, agreement=write_agreement(scores, cascade.plan))
    if not summary.skipped and (why := summary.diagnosis()) is not None:
        raise NothingScoredError(f"{why}. Its tables are kept in {scores}")
    if config.score.part is not None and (missing := _missing(scores)):
        note = (
            f"{missing:,} shards of other parts have no scores yet; the part that scores the last "
            "of them selects and writes"
        )
        return replace(result, notes=(*result.notes, note))
    if config.dedup is not None:
        copies = join(config.out, COPIES)
        result = replace(result, dedup=steps.dedup(scores, config.dedup, copies, listener))
    result = _compare_embeddings(config, result, listener)
    if (select := _with_findings(config)) is not None:
        result = _select_and_write(select, config.write, result, outputs)
    if config.report is not None:
        selection = result.selection.path if result.selection else None
        shown = config.report
        if selection is None:  # else they are those of the selection
            shown = replace(shown, join=(*shown.join, *_joins(config, shown.join)))
        report = steps.report(scores, selection, shown, join(config.out, REPORT))
        result = replace(result, report=report)
    return result


def _compare_embeddings(
    config: Config, result: PipelineResult, listener: Listener | None
) -> PipelineResult:
    """Run the steps that read embeddings."""
    scores, out = join(config.out, SCORES), config.out
    if (near := config.normsim) is not None:
        made = steps.normsim(scores, near, join(out, NORMSIM), listener)
        result = replace(result, normsim=made)
    if (loss := config.neg_clip_loss) is not None:
        made = steps.neg_clip_loss(scores, loss, join(out, NEG_CLIP_LOSS), listener)
        result = replace(result, neg_clip_loss=made)
    if (alike := config.semantic_duplicates) is not None:
        groups = steps.semantic_duplicates(scores, alike, join(out, ALIKE), listener)
        result = replace(result, semantic_duplicates=groups)
    return result


def _joins(config: Config, asked: Sequence[str]) -> list[str]:
    """The joins that ``[normsim]`` and ``[neg_clip_loss]`` add, with the sections' names."""
    taken = {text.partition("=")[0] for text in asked}
    made = {
        "normsim": NORMSIM if config.normsim else None,
        "neg_clip_loss": NEG_CLIP_LOSS if config.neg_clip_loss else None,
    }
    return [
        f"{name}={join(config.out, file)}@shard"
        for name, file in made.items()
        if file and name not in taken
    ]


def _with_findings(config: Config) -> SelectOptions | None:
    """What to select, with the groups, marks and values that the sections before find.

    Raises:
        PairsiftError: two sections find groups, and ``[select]`` does not say which to use.
    """
    select, dedup = config.select, config.dedup
    if select is None:
        return None
    if select.per_group is not None and select.groups is None:
        found = [COPIES] if dedup is not None and dedup.on != "none" else []
        found += [ALIKE] if config.semantic_duplicates is not None else []
        if len(found) > 1:
            ways = " or ".join(f'groups = "{join(config.out, name)}"' for name in found)
            raise PairsiftError(
                "[select] per_group: both [dedup] and [semantic_duplicates] find groups; write "
                f"{ways} into [select]"
            )
        select = replace(select, groups=join(config.out, found[0])) if found else select
    if dedup is not None and dedup.against:
        select = replace(select, exclude=(*select.exclude, join(config.out, COPIES)))
    return replace(select, join=(*select.join, *_joins(config, select.join)))


def _cascade(scorer: Scorer | None) -> CascadeScorer | None:
    """The cascade, also one whose rows get columns of a scorer around it."""
    while isinstance(scorer, Wrapper):
        scorer = scorer.scorer
    return scorer if isinstance(scorer, CascadeScorer) else None


def _missing(scores: str) -> int:
    """Count the shards of all runs that have no table yet."""
    folder = Folder(scores)
    return len(read_shard_names(folder) - without_suffix(folder.names(), TABLE_SUFFIX))


def _refuse_others(out: str) -> None:
    """Refuse an `out` with files or folders of our names that are not ours.

    Raises:
        PairsiftError: there is one; the error names it.
    """
    folder = Folder(out)
    kinds = {
        _FILES["datacomp"]: SUBSET, _FILES["parquet"]: LIST, REPORT: PAGE,
        NORMSIM: VALUES, NEG_CLIP_LOSS: VALUES,
    }  # fmt: skip
    for name, kind in kinds.items():
        output_file(join(out, name), kind)
    for name, mark in _MARKS.items():
        if folder.exists(name) and not folder.exists(f"{name}/{mark}"):
            raise PairsiftError(
                f"{join(out, name)} exists and was not written by Pairsift; choose another `out`"
            )


def _check(config: Config, scorer: Scorer | None) -> None:
    """Check the steps after scoring against the columns that the scores will have.

    Raises:
        PairsiftError: a step cannot run; the error names the section.
    """
    score, select = config.score, _with_findings(config)
    if config.dedup is not None:
        try:
            check_dedup(config.dedup.on, config.dedup.distance, config.dedup.against)
        except PairsiftError as error:
            raise PairsiftError(f"[dedup] {error}") from error
    if config.normsim is not None:
        try:
            check_normsim(config.normsim.target, config.normsim.norm)
        except PairsiftError as error:
            raise PairsiftError(f"[normsim] {error}") from error
    if config.neg_clip_loss is not None:
        try:
            check_neg_clip_loss(**asdict(config.neg_clip_loss))
        except PairsiftError as error:
            raise PairsiftError(f"[neg_clip_loss] {error}") from error
    if (placed := _placed(config.write, config.out)) is not None:
        try:
            outputs_of(placed)
            if select is not None and select.sample is not None and select.repeat_penalty < inf:
                refuse_repeats(placed)
        except PairsiftError as error:
            raise PairsiftError(f"[write] {error}") from error
    if scorer is not None:
        columns: Any = scorer.columns
    else:
        columns = known_columns(score.scorer, **steps.scorer_options(score))
    if columns is None:
        return  # only other processes load the scorer
    schema = score_schema(without_embeddings(columns))
    if config.dedup is not None and SHA not in schema.names:
        raise PairsiftError("[dedup] needs hashes; write hashes = true into [score]")
    for name in ("normsim", "neg_clip_loss", "semantic_duplicates"):
        if getattr(config, name) is not None and IMAGE not in {item.name for item in columns}:
            raise PairsiftError(
                f"[{name}] needs embeddings; write embeddings = true into [score], with the scorer "
                "clip, dual-encoder or tiny-glance"
            )
    # Columns of joined tables are known only once there are scores.
    if select is not None and not select.join:
        asked = (
            "where", "top", "count", "by", "per", "groups", "per_group", "sample", "weights",
            "repeat_penalty", "best_caption", "unique", "agreement",
        )  # fmt: skip
        try:
            check_select(
                schema,
                scorer.fingerprint if scorer else {},
                **{name: getattr(select, name) for name in asked},
            )
        except PairsiftError as error:
            raise PairsiftError(f"[select] {error}") from error
    if config.write is not None:
        for name in config.write.add_scores:
            if name not in schema.names:
                raise PairsiftError(
                    f"[write] add_scores: the scores will have no column {name!r}; they will have "
                    f"{', '.join(schema.names)}"
                )


def _select_and_write(
    asked: SelectOptions,
    section: WriteOptions | None,
    result: PipelineResult,
    outputs: OutputSet,
) -> PipelineResult:
    """Select, and write the requested outputs; in place if the selection is the last run's."""
    out = result.out
    selection = steps.select(join(out, SCORES), asked, join(outputs.stage, SELECTION))
    failed = selection.record.failed
    tried = {name: count for name, count in failed.items() if not Status(name).declared}
    if tried and selection.record.rows == sum(failed.values()):  # also for a resumed run
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
        there = read_selection(join(out, SELECTION))
        return replace(result, selection=there, written=_write(section, there, out))
    outputs.begin(identity, keep=[SELECTION])
    written = _write(section, selection, outputs.stage)
    outputs.commit(drop=outputs.current.get("selection") != identity["selection"])
    return replace(
        result,
        selection=replace(selection, path=join(out, SELECTION)),
        written={name: _moved(made, outputs.stage, out) for name, made in written.items()},
    )


def _identity(selection: Selection) -> Any:
    record = selection.record.to_json()
    return _plain({name: value for name, value in record.items() if name != "pairsift_version"})


def _plain(content: Any) -> Any:
    """Return the options as JSON would give them back."""
    return json.loads(json.dumps(content))


def _write(section: WriteOptions | None, selection: Selection, out: str) -> dict[str, Written]:
    """Write the requested outputs below a folder."""
    placed = _placed(section, out)
    return write_outputs(selection, placed) if placed else {}


def _placed(section: WriteOptions | None, out: str) -> WriteOptions | None:
    """Return the options with their outputs below a folder; None if no output is requested."""
    if section is None:
        return None
    named = {name: getattr(section, name) for name in _FILES}
    paths: dict[str, Any] = {name: file and join(out, file) for name, file in named.items()}
    others = {name: join(out, file) for name, file in section.to.items()}
    return replace(section, **paths, to=others) if any(paths.values()) or others else None


def _moved(made: Any, stage: str, out: str) -> Any:
    """Return what was written in the stage, with its final paths."""
    if isinstance(made, tuple):
        return tuple(_moved(item, stage, out) for item in made)
    if is_dataclass(made) and not isinstance(made, type):
        values = {item.name: getattr(made, item.name) for item in fields(made)}
        return replace(made, **{name: _moved(value, stage, out) for name, value in values.items()})
    if isinstance(made, str) and made.startswith(f"{stage}/"):
        return out + made[len(stage) :]
    return made
