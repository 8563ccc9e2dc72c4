"""`balance`: read records, select, and write training data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsift.balance.clusters import cluster_captions
from pairsift.balance.export import read_general, write_images, write_llava, write_messages
from pairsift.balance.histogram import Histogram, histograms
from pairsift.balance.sample import balance
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.prompt_files import PACK_FILE, dump_pack, load_prompts
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.sources.image_store import ImageStore
from pairsift.storage import Folder
from pairsift.teach.embed import load_embedder
from pairsift.teach.records import Record, labelled_metric, read_records

SUMMARY_FILE = "balance.json"


@dataclass(frozen=True, slots=True)
class Options:
    """How to balance.

    Attributes:
        metrics: None for all that the records have.
        per_metric, buckets, clusters, seed: see :func:`pairsift.balance.sample.balance`.
        embedder: the embedder of the captions, for the clusters.
        prompts: the prompt pack that the filter is trained with.
        general, general_count: LLaVA JSON of general instructions, and how many of them to add.
        messages: whether to write the Hugging Face dataset too.
    """

    metrics: Sequence[str] | None = None
    per_metric: int = 1000
    buckets: int = 10
    clusters: int = 64
    embedder: str = "auto"
    prompts: str | None = None
    general: str | None = None
    general_count: int | None = None
    messages: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What was selected.

    Attributes:
        chosen: number of annotated captions; `entries` counts the general instructions too.
        captions, images: how many distinct ones there are among them.
        kinds: selected records by kind.
    """

    out: str
    records: int
    chosen: int
    entries: int
    captions: int
    images: int
    embedder: str
    kinds: Mapping[str, int]
    histograms: Mapping[str, Histogram]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json` and for balance.json."""
        shown = {metric: histogram.to_json() for metric, histogram in self.histograms.items()}
        return {
            "out": self.out,
            "records": self.records,
            "chosen": self.chosen,
            "entries": self.entries,
            "captions": self.captions,
            "images": self.images,
            "embedder": self.embedder,
            "kinds": dict(self.kinds),
            "histograms": shown,
        }

    def text(self) -> str:
        """Text for people."""
        blocks = [histogram.text() for histogram in self.histograms.values()]
        blocks.append(
            f"{self.chosen:,} scores of {self.captions:,} captions on {self.images:,} images, from "
            f"{self.records:,} records; {self.entries:,} entries in {self.out}"
        )
        return "\n\n".join(blocks)


def balance_records(
    paths: Sequence[str], images: Sequence[str], out: str, options: Options
) -> Summary:
    """Select records and write them as training data.

    `out` gets `llava.json`, `messages.parquet`, `images/`, `pairsift-prompts.toml` (the pack) and
    `balance.json`. Without `images` there is no `messages.parquet`, and the entries of
    `llava.json` name images as the records do.

    Raises:
        PairsiftError: records, images or the prompt pack cannot be used.
    """
    prompts = load_prompts(options.prompts)
    known = {name: prompts.metric(name) for name in prompts.metrics}
    labelled = labelled_metric(options.metrics, known)
    records = [record for path in paths for record in read_records(path, labelled)]
    scored = [record for record in records if record.scores]
    if not scored:
        raise PairsiftError(f"no record with a score in {', '.join(paths)}")
    metrics = tuple(options.metrics or _metrics_of(scored, prompts))
    if lacking := [metric for metric in metrics if metric not in prompts.metrics]:
        raise PairsiftError(
            f"prompt pack {prompts.name!r} has no text for metric {lacking[0]!r} of the records; "
            "give the pack that the teacher was asked with (--prompts), or choose --metrics"
        )
    scales = {metric: prompts.metrics[metric].scale for metric in metrics}
    embedder_name, clusters = "none", np.zeros(len(scored), np.intp)
    if options.clusters > 1:
        embedder = load_embedder(options.embedder)
        embedder_name = embedder.name
        captions = [record.caption for record in scored]
        clusters = cluster_captions(captions, embedder, options.clusters, options.seed)
    chosen = balance(
        scored, clusters, metrics, options.per_metric, options.buckets, options.seed, scales
    )
    general = []
    if options.general is not None:
        general = read_general(options.general, options.general_count, options.seed)
    folder = Folder(out)
    folder.create()
    names = list(dict.fromkeys(choice.record.image for choice in chosen))
    files = {name: name for name in names}
    if images:
        store = ImageStore(images)
        missing = store.missing(names)
        if missing:
            raise PairsiftError(
                f"{len(missing):,} of {len(names):,} chosen images are not in "
                f"{', '.join(images)}, for example: {store.why_missing(missing[0])}"
            )
        files = write_images(out, names, store)
        if options.messages:
            write_messages(out, chosen, prompts, store)
    summary = Summary(
        out,
        len(records),
        len(chosen),
        write_llava(out, chosen, prompts, files, general, options.seed),
        len({choice.record.caption for choice in chosen}),
        len(names),
        embedder_name,
        dict(Counter(choice.record.kind for choice in chosen)),
        histograms(scored, chosen, metrics, options.buckets, scales),
    )
    folder.write(PACK_FILE, dump_pack(prompts).encode())
    folder.write(SUMMARY_FILE, (json.dumps(summary.to_json(), indent=1) + "\n").encode())
    return summary


def _metrics_of(records: Sequence[Record], prompts: PromptPack) -> list[str]:
    """The metrics that records have, in the order of the pack's columns, unknown ones last."""
    found = dict.fromkeys(metric for record in records for metric in record.scores)
    order = [metric.name for metric in prompts.in_tables() if metric.name in found]
    return [*order, *(metric for metric in found if metric not in order)]
