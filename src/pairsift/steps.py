"""The steps that the commands and `pairsift run` share.

Each step is one function of its options. The command line adds messages, the pipeline adds the
order.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pairsift.errors import PairsiftError
from pairsift.options import (
    DedupOptions,
    ImportOptions,
    NegClipLossOptions,
    NormSimOptions,
    ReportOptions,
    ScoreOptions,
    SelectOptions,
    SemanticDuplicatesOptions,
    SourceOptions,
)
from pairsift.sources import ShardSet, find_shards
from pairsift.sources.several import caption_names

if TYPE_CHECKING:
    from pairsift.dedup import DedupSummary
    from pairsift.engines.base import RunSummary
    from pairsift.engines.imports import ImportSummary
    from pairsift.progress import Listener
    from pairsift.report import ReportSummary
    from pairsift.scorers.base import Scorer
    from pairsift.select import Selection
    from pairsift.similarity.output import Values
    from pairsift.similarity.semantic import SemanticGroups

_SCORER = (
    "model", "vision_tower", "adapter", "prompts", "reference_quirks", "plan", "w", "resize",
    "metrics", "mark_out_of_scope", "languages", "hashes", "embeddings", "device", "dtype",
)  # fmt: skip
_CLUSTER = ("ray_address", "actors", "gpus_per_actor", "cpus_per_actor")


def source_options(options: ScoreOptions | SourceOptions) -> dict[str, Any]:
    """Return the options that :func:`pairsift.sources.find_shards` takes."""
    return {
        "kind": options.kind,
        "caption": options.caption_field,
        "image": options.image_field,
        "captions_file": options.captions_file,
        "image_root": options.image_root,
        "separator": options.separator,
        "encoding": options.encoding,
    }


def find_input(shards: Sequence[str], options: ScoreOptions | SourceOptions) -> ShardSet:
    """Find the shards of a run.

    Raises:
        PairsiftError: as :func:`pairsift.sources.find_shards` raises it.
    """
    return find_shards(shards, **source_options(options))


def scorer_options(options: ScoreOptions) -> dict[str, Any]:
    """Return the options for :func:`pairsift.load_scorer`."""
    found = {name: getattr(options, name) for name in _SCORER} | dict(options.scorer_option)
    several = caption_names([("caption", options.caption_field)])
    found |= {"caption_index": True} if several else {}
    return found | ({"carry": options.carry} if options.carry else {})


def with_types(options: ScoreOptions, shards: ShardSet, out: str) -> ScoreOptions:
    """Return the options with the types of the fields to carry, found in the first samples.

    Raises:
        PairsiftError: as :func:`pairsift.scorers.carried_fields.find_carried` raises it.
    """
    if not options.carry:
        return options
    from pairsift.scorers.carried_fields import find_carried

    return replace(options, carry=find_carried(options.carry, shards, out))


def loads_here(options: ScoreOptions) -> bool:
    """Return whether this process loads the scorer, and not one that it starts."""
    return options.engine == "local" and options.devices is None


def check_score(options: ScoreOptions) -> None:
    """Check options that depend on each other, before anything is read.

    Raises:
        PairsiftError: an option has an unknown value, or belongs to another engine.
    """
    _check_known("retry", options.retry, "failed")
    _check_known("rescore", options.rescore, "changed")
    if options.engine not in ("local", "ray"):
        raise PairsiftError(f"--engine {options.engine!r}: choose local or ray")
    if options.engine == "ray" and options.workers is not None:
        raise PairsiftError("--workers is for the local engine; give --cpus-per-actor")
    for name in _CLUSTER:
        if options.engine == "local" and getattr(options, name) is not None:
            raise PairsiftError(f"--{name.replace('_', '-')} needs --engine ray")
    if options.devices is not None:
        from pairsift.engines.devices import find_devices

        if options.engine == "ray":
            raise PairsiftError("--devices is for the local engine; give --actors")
        if options.device is not None:
            raise PairsiftError("--device and --devices: give one of the two")
        find_devices(options.devices)
    parse_part(options.part)
    parse_actors(options.actors)


def _check_known(name: str, value: str | None, known: str) -> None:
    if value not in (None, known):
        raise PairsiftError(f"--{name} {value!r}: only {known} is known")


def score(
    options: ScoreOptions,
    shards: ShardSet,
    out: str,
    listener: Listener | None = None,
    scorer: Scorer | None = None,
) -> RunSummary:
    """Score shards into a folder.

    Args:
        scorer: a loaded scorer, for the local engine on one device.

    Raises:
        PairsiftError: as :func:`check_score`, the scorer and the engine raise it.
    """
    from pairsift.engines.settings import ScorerSpec

    check_score(options)
    options = with_types(options, shards, out)
    shared: dict[str, Any] = {
        "batch_size": options.batch_size,
        "max_failure_rate": options.max_failure_rate,
        "part": parse_part(options.part),
        "retry_failed": options.retry == "failed",
        "rescore_changed": options.rescore == "changed",
        "listener": listener,
    }
    spec = ScorerSpec(options.scorer, scorer_options(options))
    if options.engine == "ray":
        from pairsift.engines.ray import RayOptions
        from pairsift.engines.ray import score_shards as score_on_ray

        rays = RayOptions(
            options.ray_address,
            parse_actors(options.actors),
            options.gpus_per_actor,
            options.cpus_per_actor or 1,
        )
        # Ray prints what it says of lost machines to stdout, which is for the result.
        with contextlib.redirect_stdout(sys.stderr):
            return score_on_ray(shards, spec, out, ray_options=rays, **shared)
    shared["workers"] = options.workers
    if options.devices is not None:
        from pairsift.engines.node import score_shards as score_on_node

        return score_on_node(shards, spec, out, devices=options.devices, **shared)
    from pairsift.engines.local import score_shards

    return score_shards(shards, scorer or spec.load(), out, **shared)


def import_scores(
    options: ImportOptions, out: str, listener: Listener | None = None
) -> ImportSummary:
    """Make a score folder of tables that were made elsewhere.

    Raises:
        PairsiftError: a column is missing; two rows of a sample contradict each other; or as
            :func:`score` raises it.
    """
    from pairsift.engines.imports import import_scores as read

    _check_known("rescore", options.rescore, "changed")
    of_pool = replace(options, separator=None, encoding=None)  # these are of the tables
    return read(
        options.tables,
        out,
        columns=options.columns,
        uid=options.uid,
        key=options.key,
        shard=options.shard,
        pool=find_input(options.pool, of_pool) if options.pool else None,
        ranges=options.range,
        rescore_changed=options.rescore == "changed",
        separator=options.separator,
        encoding=options.encoding,
        listener=listener,
    )


def dedup(
    scores: str | Sequence[str],
    options: DedupOptions,
    out: str,
    listener: Listener | None = None,
) -> DedupSummary:
    """Find copies and what is near evaluation sets.

    Raises:
        PairsiftError: as of :func:`pairsift.dedup.dedup`.
    """
    from pairsift.dedup import dedup as find_copies

    return find_copies(scores, out, **asdict(options), listener=listener)


def normsim(
    scores: str | Sequence[str],
    options: NormSimOptions,
    out: str,
    listener: Listener | None = None,
) -> Values:
    """Compare each image with those of a target set.

    Raises:
        PairsiftError: as of :func:`pairsift.similarity.normsim.normsim`.
    """
    from pairsift.similarity.normsim import normsim as compare

    return compare(scores, options.target, out, norm=options.norm, listener=listener)


def neg_clip_loss(
    scores: str | Sequence[str],
    options: NegClipLossOptions,
    out: str,
    listener: Listener | None = None,
) -> Values:
    """Compare each pair's cosine with those of its batch.

    Raises:
        PairsiftError: as of :func:`pairsift.similarity.negclip.neg_clip_loss`.
    """
    from pairsift.similarity.negclip import neg_clip_loss as compare

    return compare(scores, out, **asdict(options), listener=listener)


def semantic_duplicates(
    scores: str | Sequence[str],
    options: SemanticDuplicatesOptions,
    out: str,
    listener: Listener | None = None,
) -> SemanticGroups:
    """Group images whose embeddings nearly agree.

    Raises:
        PairsiftError: as of :func:`pairsift.similarity.semantic.semantic_duplicates`.
    """
    from pairsift.similarity.semantic import semantic_duplicates as find

    return find(scores, out, **asdict(options), listener=listener)


def select(scores: str | Sequence[str], options: SelectOptions, out: str | None) -> Selection:
    """Select from score folders.

    Raises:
        PairsiftError: as :func:`pairsift.select.select` raises it.
    """
    from pairsift.select import select as select_rows

    asked = asdict(options)
    return select_rows(scores, joins=asked.pop("join"), **asked, out=out)


def report(
    scores: str | Sequence[str], selection: str | None, options: ReportOptions, out: str
) -> ReportSummary:
    """Write the report.

    Raises:
        PairsiftError: as :func:`pairsift.report.write_report` raises it.
    """
    from pairsift.report import write_report

    asked = asdict(options)
    joins, roots = asked.pop("join"), asked.pop("root")
    return write_report(scores, selection, out, joins=joins, roots=roots, **asked)


def parse_part(value: str | None) -> tuple[int, int] | None:
    """Read ``i/n``, e.g. 1/8.

    Raises:
        PairsiftError: it has another form.
    """
    if value is None:
        return None
    index, slash, count = value.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(count) > 0):
        raise PairsiftError(f"--part {value!r}: write it as i/n, for example 1/8")
    return int(index), int(count)


def parse_actors(value: str | None) -> int | tuple[int, int] | None:
    """Read ``N`` or ``LEAST:MOST``, e.g. 2:16.

    Raises:
        PairsiftError: it has another form.
    """
    if value is None:
        return None
    least, colon, most = value.partition(":")
    if not least.isdigit() or (colon and not most.isdigit()):
        raise PairsiftError(f"--actors {value!r}: write a number, or least:most, e.g. 2:16")
    if int(least) < 1 or (colon and int(most) < int(least)):
        raise PairsiftError(
            f"--actors {value!r}: the least number must be at least 1 and not above the most"
        )
    return (int(least), int(most)) if colon else int(least)
