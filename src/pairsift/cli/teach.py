"""`pairsift teach`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli.common import (
    BatchSize,
    CaptionField,
    CaptionsFile,
    Device,
    Dtype,
    Encoding,
    ImageField,
    Json,
    Kind,
    Separator,
    emit,
)
from pairsift.cli.progress import Progress
from pairsift.errors import PairsiftError

if TYPE_CHECKING:
    from pairsift.sources.image_store import Images
    from pairsift.teach.cost import Bill
    from pairsift.teach.dialect import Structured
    from pairsift.teach.items import Item
    from pairsift.teach.openai import Estimate
    from pairsift.teach.records import Record

commands = typer.Typer(
    help="Have a teacher judge captions, as training data for a filter.", no_args_is_help=True
)

Out = Annotated[str, typer.Option(help="File for the records: .parquet or .jsonl.")]
Shards = Annotated[
    list[str] | None,
    typer.Argument(help="Shards whose pairs are judged, of any kind; or use --captions."),
]
KnownCaptions = Annotated[
    str | None,
    typer.Option(
        "--captions", help="Known-good captions: Flickr8k.token.txt, or a table of image, caption."
    ),
]
ImagePlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        help="Folder, .tar or .parquet, may be repeated; captions of other images are left out.",
    ),
]
Candidates = Annotated[
    str | None,
    typer.Option(
        help="Kinds and counts an image: own, near, random, swap, detail, named, brief, vague, "
        "corrupt, alt_text, boilerplate, file_name, order; for example own=5,near=4."
    ),
]
AltText = Annotated[
    str | None, typer.Option(help="Table of real alt texts, for candidates of that kind.")
]
EmbedderName = Annotated[
    str, typer.Option(help="minilm, words, auto, or the folder of a sentence encoder.")
]
_OPTIONS = {
    "kind": "--kind",
    "caption": "--caption-field",
    "image": "--image-field",
    "captions_file": "--captions-file",
}
Limit = Annotated[int | None, typer.Option(min=1, help="Only so many images.")]
Seed = Annotated[int, typer.Option(help="Of the candidates.")]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="teach")


@commands.command()
def reference(
    out: Out,
    captions: Annotated[
        str, typer.Option(help="At least two known-good captions an image; form as elsewhere.")
    ],
    images: ImagePlaces = None,
    separator: Separator = None,
    encoding: Encoding = None,
    candidates: Candidates = None,
    alt_text: AltText = None,
    embedder: EmbedderName = "auto",
    limit: Limit = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Judge captions by those that people wrote for the image: no key, no money.

    What each target measures, and what not, stands in pairsift.teach.reference.
    """
    from pairsift.teach.candidates import DEFAULT_PLAN, parse_plan
    from pairsift.teach.items import read_alt_text
    from pairsift.teach.records import check_output
    from pairsift.teach.run import teach_by_reference

    check_output(out)
    asked = _Asked(None, captions, images, limit, {"separator": separator, "encoding": encoding})
    items, _ = asked.read(needs_images=False)
    summary = teach_by_reference(
        items,
        out,
        parse_plan(candidates, DEFAULT_PLAN),
        embedder=embedder,
        alt_texts=read_alt_text(alt_text) if alt_text else [],
        seed=seed,
    )
    emit(summary.to_json(), json, summary.text())


@commands.command()
def openai(
    out: Out,
    model: Annotated[str, typer.Option(help="As the endpoint names it.")],
    shards: Shards = None,
    captions: KnownCaptions = None,
    images: ImagePlaces = None,
    kind: Kind = None,
    caption_field: CaptionField = None,
    image_field: ImageField = None,
    captions_file: CaptionsFile = None,
    separator: Separator = None,
    encoding: Encoding = None,
    candidates: Candidates = None,
    alt_text: AltText = None,
    embedder: EmbedderName = "auto",
    limit: Limit = None,
    seed: Seed = 0,
    base_url: Annotated[
        str | None, typer.Option(help="Of the endpoint, with /v1; OpenAI's own by default.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    prompts: Annotated[str | None, typer.Option(help="TOML with another teacher prompt.")] = None,
    metrics: Annotated[str, typer.Option(help="To be judged.")] = "itm,odf,ctq,su",
    structured: Annotated[
        str,
        typer.Option(help="json_schema, json_object or none; lowered where it is refused."),
    ] = "json_schema",
    temperature: Annotated[
        str, typer.Option(help="A number, or none; left out where it is refused.")
    ] = "0",
    max_output_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = 1000,
    detail: Annotated[str, typer.Option(help="low, high or auto.")] = "auto",
    max_side: Annotated[int, typer.Option(min=32, help="Pixels; larger images shrink.")] = 768,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    requests_per_minute: Annotated[
        float | None, typer.Option(min=0.001, help="No more than that.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds a request may take.")] = 120.0,
    retries: Annotated[
        int, typer.Option(min=0, help="On rate limits, time-outs and server errors.")
    ] = 8,
    price_input: Annotated[
        float, typer.Option(min=0, help="Per million input tokens, for estimate and --max-cost.")
    ] = 0.0,
    price_output: Annotated[float, typer.Option(min=0, help="Per million output tokens.")] = 0.0,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop when this run has cost so much.")
    ] = None,
    cache: Annotated[
        str | None, typer.Option(help="SQLite file of replies; beside --out by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate what it would cost, ask nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask a model behind an endpoint that speaks the OpenAI protocol.

    Every reply is kept in the cache as it comes: killed and run again, none is paid for twice.
    """
    from pairsift.metrics import parse_metrics
    from pairsift.teach.cache import ReplyCache
    from pairsift.teach.cost import Prices
    from pairsift.teach.openai import OpenAITeacher
    from pairsift.teach.prompt import load_teacher_prompt
    from pairsift.teach.records import check_output
    from pairsift.teach.run import finish
    from pairsift.teach.settings import OpenAISettings

    check_output(out)
    if cache is not None and os.path.abspath(cache) == os.path.abspath(out):
        raise PairsiftError(f"--cache and --out are both {out}; give each its own")
    key = os.environ.get(api_key_env)
    if key is None and base_url is None:
        raise PairsiftError(
            f"no key: set {api_key_env}, or give --base-url of an endpoint of yours"
        )
    settings = OpenAISettings(
        model,
        base_url,
        parse_metrics(metrics),
        _structured(structured),
        _temperature(temperature),
        max_output_tokens,
        detail,
        max_side,
        concurrency,
        requests_per_minute,
        timeout,
        retries,
    )
    source = {
        "kind": kind,
        "caption": caption_field,
        "image": image_field,
        "captions_file": captions_file,
        "separator": separator,
        "encoding": encoding,
    }
    items, store = _Asked(shards, captions, images, limit, source).read()
    records, chosen = _candidates(items, shards, candidates, alt_text, embedder, seed)
    with ReplyCache(cache or f"{out}.replies.sqlite") as replies:
        prices = Prices(price_input, price_output)
        teacher = OpenAITeacher(
            settings, load_teacher_prompt(prompts), replies, key, prices, max_cost
        )
        if dry_run:
            estimate = teacher.estimate(teacher.plan(records, store)[1], store)
            result = {"pairs": estimate.pairs, "cached": estimate.cached}
            emit(result | estimate.bill.to_json(), json, estimate.text())
            return
        with _Teaching() as progress:
            bill = teacher.judge(records, store, progress)
    summary = finish(out, records, teacher.facts | chosen, len(items), bill.to_json())
    emit(summary.to_json(), json, f"{summary.text()}\nthis run: {bill.text()}")


@commands.command()
def local(
    out: Out,
    model: Annotated[str, typer.Option(help="Name of a scorer, or a checkpoint folder.")],
    shards: Shards = None,
    captions: KnownCaptions = None,
    images: ImagePlaces = None,
    kind: Kind = None,
    caption_field: CaptionField = None,
    image_field: ImageField = None,
    captions_file: CaptionsFile = None,
    separator: Separator = None,
    encoding: Encoding = None,
    candidates: Candidates = None,
    alt_text: AltText = None,
    embedder: EmbedderName = "auto",
    limit: Limit = None,
    seed: Seed = 0,
    cache: Annotated[
        str | None, typer.Option(help="Folder of scores so far; beside --out by default.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    json: Json = False,
) -> None:
    """Ask a model on this machine: any scorer that has the four metrics."""
    from pairsift.scorers.registry import load_scorer
    from pairsift.teach.local import judge_locally
    from pairsift.teach.records import check_output
    from pairsift.teach.run import finish

    check_output(out)
    source = {
        "kind": kind,
        "caption": caption_field,
        "image": image_field,
        "captions_file": captions_file,
        "separator": separator,
        "encoding": encoding,
    }
    items, store = _Asked(shards, captions, images, limit, source).read()
    records, chosen = _candidates(items, shards, candidates, alt_text, embedder, seed)
    scorer = load_scorer(model, device=device, dtype=dtype)
    with _Teaching() as progress:
        facts = judge_locally(
            records,
            store,
            model,
            scorer,
            cache or f"{out}.cache",
            batch_size=batch_size,
            progress=progress.scored,
        )
    summary = finish(out, records, facts | chosen, len(items))
    emit(summary.to_json(), json, summary.text())


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be taught about: shards, or known-good captions and where their images are.

    Attributes:
        source: options of the shards' source; of captions only separator and encoding.
    """

    shards: list[str] | None
    captions: str | None
    images: list[str] | None
    limit: int | None
    source: Mapping[str, str | None]

    def read(self, needs_images: bool = True) -> tuple[list[Item], Images]:
        from pairsift.sources.image_store import ImageStore
        from pairsift.teach.items import read_items, read_shards

        if bool(self.shards) == bool(self.captions):
            raise PairsiftError("give either shards, or --captions with --images")
        if self.shards:
            return read_shards(self.shards, self.limit, **self.source)
        of_table = ("separator", "encoding")
        for name, value in self.source.items():
            if value is not None and name not in of_table:
                raise PairsiftError(f"{_OPTIONS[name]} is for shards; --captions takes none")
        if needs_images and not self.images:
            raise PairsiftError("this teacher looks at images: give --images")
        store = ImageStore(self.images or [])
        items = read_items(
            self.captions or "",
            store if self.images else None,
            **{name: self.source.get(name) for name in of_table},
        )
        return items[: self.limit], store


def _candidates(
    items: list[Item],
    shards: list[str] | None,
    candidates: str | None,
    alt_text: str | None,
    embedder: str,
    seed: int,
) -> tuple[list[Record], dict[str, object]]:
    from pairsift.teach.candidates import DEFAULT_PLAN, GIVEN_PLAN, parse_plan
    from pairsift.teach.items import read_alt_text
    from pairsift.teach.run import candidate_records

    plan = parse_plan(candidates, GIVEN_PLAN if shards else DEFAULT_PLAN)
    texts = read_alt_text(alt_text) if alt_text else []
    records = candidate_records(items, plan, embedder=embedder, alt_texts=texts, seed=seed)
    return records, {"seed": seed, "candidates": plan}


def _structured(name: str) -> Structured:
    match name:
        case "json_schema" | "json_object" | "none":
            return name
    raise PairsiftError(f"--structured {name!r}: choose from json_schema, json_object, none")


def _temperature(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise PairsiftError(f"--temperature {text!r}: a number, or none") from None


class _Teaching(Progress):
    """Shows the estimate, then how many pairs are judged and what they have cost so far."""

    def estimated(self, estimate: Estimate) -> None:
        self.say(estimate.text())

    def noted(self, words: str) -> None:
        self.say(words)

    def answered(self, done: int, total: int, bill: Bill) -> None:
        self.show("teaching", done, total, bill.text(), "pairs")

    def scored(self, done: int, total: int) -> None:
        self.show("teaching", done, total, unit="pairs")
