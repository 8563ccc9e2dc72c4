"""`pairsift balance`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit


def register(app: typer.Typer) -> None:
    app.command()(balance)


def balance(
    records: Annotated[list[str], typer.Argument(help="Files that `pairsift teach` wrote.")],
    out: Annotated[str, typer.Option(help="Folder for the training data.")],
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of images or shards, .tar or .parquet with the images; may be repeated."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics to select for, e.g. itm,odf; default: all that the records have."
        ),
    ] = None,
    per_metric: Annotated[int, typer.Option(min=1, help="Records for each metric.")] = 1000,
    buckets: Annotated[
        int,
        typer.Option(min=1, max=101, help="Equal ranges of the score to sample evenly from."),
    ] = 10,
    clusters: Annotated[
        int,
        typer.Option(
            min=1, help="Number of caption clusters to sample evenly from; 1 turns clustering off."
        ),
    ] = 64,
    embedder: Annotated[
        str,
        typer.Option(help="Sentence encoder for the clusters: minilm, words, auto, or a folder."),
    ] = "auto",
    prompts: Annotated[
        str | None, typer.Option(help="Prompt pack that the filter is trained with.")
    ] = None,
    general: Annotated[
        str | None, typer.Option(help="LLaVA JSON of general instructions to mix in.")
    ] = None,
    general_count: Annotated[
        int | None, typer.Option(min=0, help="How many instructions to mix in; default: all.")
    ] = None,
    messages: Annotated[
        bool, typer.Option(help="Also write messages.parquet for Hugging Face trainers.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    json: Json = False,
) -> None:
    """Select training data from teacher records: spread evenly over scores and over captions."""
    from pairsift.balance.run import Options, balance_records
    from pairsift.metrics import split_names

    options = Options(
        split_names(metrics) if metrics else None,
        per_metric,
        buckets,
        clusters,
        embedder,
        prompts,
        general,
        general_count,
        messages,
        seed,
    )
    summary = balance_records(records, images or [], out, options)
    emit(summary.to_json(), json, summary.text())
