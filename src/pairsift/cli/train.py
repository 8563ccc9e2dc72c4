"""`pairsift train`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pairsift.cli.common import Json, emit


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    data: Annotated[
        list[str],
        typer.Argument(help="Folders that `pairsift balance` wrote, or their json or parquet."),
    ],
    model: Annotated[str, typer.Option(help="Checkpoint to start from: folder or hub name.")],
    out: Annotated[str, typer.Option(help="Folder for the trained checkpoint.")],
    images: Annotated[
        list[str] | None,
        typer.Option(help="More images: folder, .tar or .parquet; may be repeated."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="A .toml, pairsift, or compact; else the model's own, then the data's."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Of itm,odf,ctq,su; all that the data has.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="distribution: soft labels; words: score, then rationale.")
    ] = "distribution",
    label_std: Annotated[
        float, typer.Option(min=0, help="Of the soft label around a score, in points.")
    ] = 5.0,
    ranking: Annotated[
        float, typer.Option(min=0, help="Weight of ranking captions of one image; 0: none.")
    ] = 0.0,
    captions_per_image: Annotated[
        int, typer.Option(min=1, help="Ranked among each other, at most.")
    ] = 4,
    stages: Annotated[
        str, typer.Option(help="Of projector, language (and projector), all; by commas.")
    ] = "projector,all",
    epochs: Annotated[
        str | None, typer.Option(help="Of each stage, by commas, or one for all; 1 by default.")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Of each stage, instead of epochs.")] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(help="Of each stage; 1e-3 projector, else 2e-5, with LoRA 2e-4."),
    ] = None,
    lora: Annotated[int, typer.Option(min=0, help="Rank of low-rank updates; 0: full.")] = 0,
    lora_alpha: Annotated[
        int | None, typer.Option(min=1, help="Scale of the updates; twice the rank.")
    ] = None,
    lora_dropout: Annotated[float, typer.Option(min=0, max=0.9, help="Before the updates.")] = 0.0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Pairs (with --ranking, images) a forward pass.")
    ] = 8,
    accumulate: Annotated[int, typer.Option(min=1, help="Forward passes a step.")] = 4,
    warmup: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of a stage's steps; then a cosine.")
    ] = 0.03,
    weight_decay: Annotated[float, typer.Option(min=0, help="AdamW's.")] = 0.0,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third slower.")
    ] = False,
    save_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints and dev measurements.")
    ] = 100,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between lines of the log.")] = 10,
    dev_fraction: Annotated[
        float, typer.Option(min=0, max=0.9, help="Of the images, kept apart to measure on.")
    ] = 0.1,
    dev_data: Annotated[str | None, typer.Option(help="Other data to measure on.")] = None,
    dev_pairs: Annotated[int, typer.Option(min=1, help="To measure on, at most.")] = 1000,
    best_by: Annotated[
        str | None, typer.Option(help="Dev tau that decides: a metric, or mean; itm if taught.")
    ] = None,
    mix: Annotated[
        str | None, typer.Option(help="LLaVA JSON of general instructions to mix in.")
    ] = None,
    mix_ratio: Annotated[float, typer.Option(min=0, help="Of them, per judged pair.")] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16; auto is bfloat16 on GPUs that have it.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Leave all checkpoints in OUT/training.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and leave.")
    ] = False,
    json: Json = False,
) -> None:
    """Teach a multimodal model to score, from what `pairsift balance` wrote.

    Stop it at any moment and run it again: it goes on from its last checkpoint. The result is
    scored with by `pairsift score --scorer OUT`; its prompts are recorded in it.
    """
    from pairsift.metrics import parse_metrics
    from pairsift.train.run import describe
    from pairsift.train.run import train as run_training
    from pairsift.train.settings import Lora, Settings, parse_stages

    settings = Settings(
        data=tuple(data),
        model=model,
        out=out,
        stages=parse_stages(
            stages, epochs=epochs, steps=steps, learning_rates=learning_rate, lora=lora > 0
        ),
        images=tuple(images or ()),
        prompts=prompts,
        metrics=parse_metrics(metrics) if metrics else None,
        objective=objective,
        label_std=label_std,
        ranking=ranking,
        captions_per_image=captions_per_image,
        lora=Lora(lora, lora_alpha or 2 * lora, lora_dropout) if lora else None,
        batch_size=batch_size,
        accumulate=accumulate,
        warmup=warmup,
        weight_decay=weight_decay,
        gradient_checkpointing=gradient_checkpointing,
        save_every=save_every,
        log_every=log_every,
        dev_fraction=dev_fraction,
        dev_data=dev_data,
        dev_pairs=dev_pairs,
        best_by=best_by,
        mix=mix,
        mix_ratio=mix_ratio,
        seed=seed,
        device=device,
        dtype=dtype,
        workers=workers,
        keep_checkpoints=keep_checkpoints,
    )
    say = partial(typer.echo, err=json)  # with --json, stdout is for the result alone
    if dry_run:
        emit(describe(settings, say), json, "nothing was trained (--dry-run)")
        return
    summary = run_training(settings, say)
    emit(summary.to_json(), json, summary.text())
