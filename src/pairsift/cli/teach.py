"""`pairsift teach`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.cli.progress import ProgressDisplay
from pairsift.errors import PairsiftError
from pairsift.options import BatchSize, Device, Dtype, Encoding, PromptPack, Separator
from pairsift.teach.options import CandidateOptions, CaptionedImages, TeachSource

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
# Options that only shards have.
_OF_SHARDS = ("kind", "caption_field", "image_field", "captions_file", "image_root")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="teach")


@commands.command()
@with_options(choice=CandidateOptions)
def reference(
    choice: CandidateOptions,
    out: Out,
    captions: Annotated[
        str,
        typer.Option(
            help="File with at least two correct captions for each image: Flickr8k.token.txt, or a "
            "table with the columns image and caption."
        ),
    ],
    images: CaptionedImages = (),
    separator: Separator = None,
    encoding: Encoding = None,
    json: Json = False,
) -> None:
    """Annotate captions by comparing them with those that people wrote for the image.

    Needs no API key and costs nothing. The documentation of pairsift.teach.reference says what each
    score measures and what it misses.
    """
    from pairsift.sources.image_store import ImageStore
    from pairsift.teach.candidates import DEFAULT_PLAN, parse_plan
    from pairsift.teach.items import read_alt_text, read_items
    from pairsift.teach.records import check_output
    from pairsift.teach.run import teach_by_reference

    check_output(out)
    store = ImageStore(images)
    items = read_items(captions, store if images else None, separator=separator, encoding=encoding)
    summary = teach_by_reference(
        items[: choice.limit],
        out,
        parse_plan(choice.candidates, DEFAULT_PLAN),
        embedder=choice.embedder,
        alt_texts=read_alt_text(choice.alt_text) if choice.alt_text else [],
        seed=choice.seed,
    )
    emit(summary.to_json(), json, summary.text())


@commands.command()
@with_options(source=TeachSource, choice=CandidateOptions)
def openai(
    source: TeachSource,
    choice: CandidateOptions,
    out: Out,
    model: Annotated[str, typer.Option(help="Name of the model at the endpoint.")],
    base_url: Annotated[
        str | None, typer.Option(help="URL of the endpoint, including /v1; default: OpenAI.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Name of the environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    prompts: Annotated[
        str | None,
        typer.Option(
            help="TOML file with another prompt for the teacher, or a prompt pack (a file, or a "
            "name such as vqascore), whose questions it answers."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics to annotate, separated by commas; default: all of the prompt."),
    ] = None,
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
    prompt = load_teacher_prompt(prompts)
    settings = OpenAISettings(
        model,
        base_url,
        parse_metrics(prompt.criteria if metrics is None else metrics, prompt.metrics),
        _structured(structured),
        _temperature(temperature),
        max_output_tokens,
        detail,
        max_side,
        concurrency,
        requests_per_minute,
        timeout,
        retries,
        known=prompt.metrics,
    )
    items, store, records, chosen = _read(source, choice)
    with ReplyCache(cache or f"{out}.replies.sqlite") as replies:
        prices = Prices(price_input, price_output)
        teacher = OpenAITeacher(settings, prompt, replies, key, prices, max_cost)
        if dry_run:
            estimate = teacher.estimate(teacher.plan(records, store)[1], store)
            result = {"pairs": estimate.pairs, "cached": estimate.cached}
            emit(result | estimate.bill.to_json(), json, estimate.text())
            return
        with ProgressDisplay() as progress:
            bill = teacher.annotate(records, store, progress)
    facts, asked = teacher.facts | chosen, tuple(prompt.metrics.values())
    summary = finish(out, records, facts, len(items), bill.to_json(), asked)
    emit(summary.to_json(), json, f"{summary.text()}\nthis run: {bill.text()}")


@commands.command()
@with_options(source=TeachSource, choice=CandidateOptions)
def local(
    source: TeachSource,
    choice: CandidateOptions,
    out: Out,
    model: Annotated[
        str, typer.Option(help="Name of the scorer that annotates, or a checkpoint folder.")
    ],
    prompts: PromptPack = None,
    cache: Annotated[
        str | None, typer.Option(help="Folder that caches the scores; default: next to --out.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    json: Json = False,
) -> None:
    """Let a model on this machine annotate captions: any scorer that has metrics."""
    from pairsift.scorers.registry import load_scorer
    from pairsift.teach.local import annotate_locally
    from pairsift.teach.records import check_output
    from pairsift.teach.run import finish

    check_output(out)
    items, store, records, chosen = _read(source, choice)
    scorer = load_scorer(model, prompts=prompts, device=device, dtype=dtype)
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
    asked = tuple(scorer.described.values())
    summary = finish(out, records, facts | chosen, len(items), metrics=asked)
    emit(summary.to_json(), json, summary.text())


def _read(
    source: TeachSource, choice: CandidateOptions
) -> tuple[list[Item], Images, list[Record], dict[str, object]]:
    """Images with their captions, the images, what is to be annotated, and how it was chosen."""
    from pairsift.teach.candidates import DEFAULT_PLAN, GIVEN_PLAN, parse_plan
    from pairsift.teach.items import read_alt_text
    from pairsift.teach.run import candidate_records

    if bool(source.shards) == bool(source.captions):
        raise PairsiftError("give shards, or --captions with --images, but not both")
    items, store = _of_shards(source, choice.limit) if source.shards else _of_captions(source)
    items = items[: choice.limit]
    plan = parse_plan(choice.candidates, GIVEN_PLAN if source.shards else DEFAULT_PLAN)
    texts = read_alt_text(choice.alt_text) if choice.alt_text else []
    records = candidate_records(
        items, plan, embedder=choice.embedder, alt_texts=texts, seed=choice.seed
    )
    return items, store, records, {"seed": choice.seed, "candidates": plan}


def _of_shards(source: TeachSource, limit: int | None) -> tuple[list[Item], Images]:
    from pairsift.steps import source_options
    from pairsift.teach.items import read_shards

    return read_shards(source.shards, limit, **source_options(source))


def _of_captions(source: TeachSource) -> tuple[list[Item], Images]:
    from pairsift.sources.image_store import ImageStore
    from pairsift.teach.items import read_items

    for name in _OF_SHARDS:
        if getattr(source, name) is not None:
            raise PairsiftError(
                f"--{name.replace('_', '-')} can only be used with shards, not with --captions"
            )
    if not source.images:
        raise PairsiftError("this teacher needs the images of the captions: give --images")
    store = ImageStore(source.images)
    assert source.captions is not None  # or there would be shards
    items = read_items(source.captions, store, separator=source.separator, encoding=source.encoding)
    return items, store


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
