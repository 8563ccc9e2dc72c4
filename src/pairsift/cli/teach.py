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
from pairsift.cli.progress import ProgressDisplay
from pairsift.errors import PairsiftError

if TYPE_CHECKING:
    from pairsift.sources.image_store import Images
    from pairsift.teach.dialect import Structured
    from pairsift.teach.items import Item
    from pairsift.teach.records import Record

commands = typer.Typer(
    help="Let a teacher annotate captions with scores, as training data for a filter.",
    no_args_is_help=True,
)

Out = Annotated[str, typer.Option(help="Output file for the records: .parquet or .jsonl.")]
Shards = Annotated[
    list[str] | None,
    typer.Argument(
        help="Shards whose pairs the teacher annotates, of any kind. Or give --captions."
    ),
]
KnownCaptions = Annotated[
    str | None,
    typer.Option(
        "--captions",
        help="File with correct captions: Flickr8k.token.txt, or a table with the columns image "
        "and caption.",
    ),
]
ImagePlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        help="Folder, .tar or .parquet file with the images; may be repeated. Captions of images "
        "that are not there are left out.",
    ),
]
Candidates = Annotated[
    str | None,
    typer.Option(
        help="Captions to annotate for each image, as kind=count, for example own=5,near=4. Kinds: "
        "own, near, random, swap, detail, named, brief, vague, corrupt, alt_text, boilerplate, "
        "file_name, order."
    ),
]
AltText = Annotated[
    str | None, typer.Option(help="Table of real alt texts, for candidates of the kind alt_text.")
]
EmbedderName = Annotated[
    str,
    typer.Option(
        help="Sentence encoder that finds similar captions: minilm, words, auto, or a folder."
    ),
]
_OPTIONS = {
    "kind": "--kind",
    "caption": "--caption-field",
    "image": "--image-field",
    "captions_file": "--captions-file",
}
Limit = Annotated[int | None, typer.Option(min=1, help="Maximum number of images to use.")]
Seed = Annotated[int, typer.Option(help="Random seed for the choice of candidates.")]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="teach")


@commands.command()
def reference(
    out: Out,
    captions: Annotated[
        str,
        typer.Option(
            help="File with at least two correct captions for each image: Flickr8k.token.txt, or a "
            "table with the columns image and caption."
        ),
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
    """Annotate captions by comparing them with those that people wrote for the image.

    Needs no API key and costs nothing. The documentation of pairsift.teach.reference says what each
    score measures and what it misses.
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
    model: Annotated[str, typer.Option(help="Name of the model at the endpoint.")],
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
        str | None, typer.Option(help="URL of the endpoint, including /v1; default: OpenAI.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Name of the environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    prompts: Annotated[
        str | None, typer.Option(help="TOML file with another prompt for the teacher.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="Metrics to annotate, separated by commas.")
    ] = "itm,odf,ctq,su",
    structured: Annotated[
        str,
        typer.Option(
            help="How to ask for JSON answers: json_schema, json_object or none. If the endpoint "
            "refuses one, the next is tried."
        ),
    ] = "json_schema",
    temperature: Annotated[
        str,
        typer.Option(
            help="Sampling temperature: a number, or none to send none. It is omitted if the "
            "endpoint refuses it."
        ),
    ] = "0",
    max_output_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum number of tokens in one answer.")
    ] = 1000,
    detail: Annotated[
        str, typer.Option(help="Image detail that the endpoint should use: low, high or auto.")
    ] = "auto",
    max_side: Annotated[
        int,
        typer.Option(min=32, help="Longest side of images in pixels; larger images are resized."),
    ] = 768,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Number of requests at the same time.")
    ] = 8,
    requests_per_minute: Annotated[
        float | None,
        typer.Option(min=0.001, help="Maximum number of requests per minute; default: no limit."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Time limit of a request in seconds.")
    ] = 120.0,
    retries: Annotated[
        int,
        typer.Option(
            min=0, help="Number of retries after rate limits, time-outs and server errors."
        ),
    ] = 8,
    price_input: Annotated[
        float,
        typer.Option(
            min=0, help="Price per million input tokens, for the estimate and --max-cost."
        ),
    ] = 0.0,
    price_output: Annotated[
        float, typer.Option(min=0, help="Price per million output tokens.")
    ] = 0.0,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop when this run has cost this amount.")
    ] = None,
    cache: Annotated[
        str | None, typer.Option(help="SQLite file that keeps the replies; default: next to --out.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate the cost and send no request.")
    ] = False,
    json: Json = False,
) -> None:
    """Let a model at an OpenAI-compatible endpoint annotate captions.

    Every reply is cached at once. If the command is killed and run again, no reply is paid twice.
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
    if key is None and base_url is None and not dry_run:
        raise PairsiftError(
            f"no API key: set the environment variable {api_key_env}, or give --base-url to use "
            "your own endpoint"
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
        with ProgressDisplay() as progress:
            bill = teacher.annotate(records, store, progress)
    summary = finish(out, records, teacher.facts | chosen, len(items), bill.to_json())
    emit(summary.to_json(), json, f"{summary.text()}\nthis run: {bill.text()}")


@commands.command()
def local(
    out: Out,
    model: Annotated[
        str, typer.Option(help="Name of the scorer that annotates, or a checkpoint folder.")
    ],
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
        str | None, typer.Option(help="Folder that caches the scores; default: next to --out.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    json: Json = False,
) -> None:
    """Let a model on this machine annotate captions: any scorer that has the four metrics."""
    from pairsift.scorers.registry import load_scorer
    from pairsift.teach.local import annotate_locally
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
    with ProgressDisplay() as progress:
        facts = annotate_locally(
            records,
            store,
            model,
            scorer,
            cache or f"{out}.cache",
            batch_size=batch_size,
            listener=progress,
        )
    summary = finish(out, records, facts | chosen, len(items))
    emit(summary.to_json(), json, summary.text())


@dataclass(frozen=True, slots=True)
class _Asked:
    """The input: shards, or a file of correct captions and the places of its images.

    Attributes:
        source: options for reading the shards; for captions only separator and encoding.
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
            raise PairsiftError("give shards, or --captions with --images, but not both")
        if self.shards:
            return read_shards(self.shards, self.limit, **self.source)
        of_table = ("separator", "encoding")
        for name, value in self.source.items():
            if value is not None and name not in of_table:
                raise PairsiftError(
                    f"{_OPTIONS[name]} can only be used with shards, not with --captions"
                )
        if needs_images and not self.images:
            raise PairsiftError("this teacher needs the images of the captions: give --images")
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
    raise PairsiftError(
        f"--structured {name!r} is unknown; choose from json_schema, json_object, none"
    )


def _temperature(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise PairsiftError(f"--temperature {text!r}: give a number, or none") from None
