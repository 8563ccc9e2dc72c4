"""`pairsift train`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.progress import MessageListener


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Folders that `pairsift balance` wrote, or the .json or .parquet files in them."
        ),
    ],
    model: Annotated[str, typer.Option(help="Checkpoint to start from: folder or hub name.")],
    out: Annotated[str, typer.Option(help="Folder for the trained checkpoint.")],
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="More places to search for images: folder, .tar or .parquet; may be repeated."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Prompt pack: a .toml file, pairsift or compact. Default: the model's own, then "
            "the data's."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics to train, e.g. itm,odf; default: all that the data has."),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="What to learn. distribution: soft labels over the scores; words: the score, "
            "then a rationale."
        ),
    ] = "distribution",
    label_std: Annotated[
        float,
        typer.Option(min=0, help="Standard deviation of the soft label around a score, in points."),
    ] = 5.0,
    ranking: Annotated[
        float,
        typer.Option(
            min=0, help="Weight of the loss that ranks captions of one image; 0 turns it off."
        ),
    ] = 0.0,
    captions_per_image: Annotated[
        int,
        typer.Option(min=1, help="Most captions of one image that are ranked against each other."),
    ] = 4,
    stages: Annotated[
        str,
        typer.Option(
            help="Training stages, separated by commas: projector, language (projector "
            "and language "
            "model), all."
        ),
    ] = "projector,all",
    epochs: Annotated[
        str | None,
        typer.Option(
            help="Epochs of each stage, separated by commas, or one number for all; default: 1."
        ),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Steps of each stage, in place of --epochs.")
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            help="Learning rate of each stage. Default: 1e-3 for projector, else 2e-5, with LoRA "
            "2e-4."
        ),
    ] = None,
    lora: Annotated[
        int, typer.Option(min=0, help="Rank of the LoRA updates; 0 trains all weights.")
    ] = 0,
    lora_alpha: Annotated[
        int | None, typer.Option(min=1, help="Scale of the LoRA updates; default: twice the rank.")
    ] = None,
    lora_dropout: Annotated[
        float, typer.Option(min=0, max=0.9, help="Dropout before the LoRA updates.")
    ] = 0.0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Pairs in a forward pass; with --ranking, images.")
    ] = 8,
    accumulate: Annotated[int, typer.Option(min=1, help="Forward passes per optimizer step.")] = 4,
    warmup: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Fraction of a stage's steps for warm-up; a cosine decay follows."
        ),
    ] = 0.03,
    weight_decay: Annotated[float, typer.Option(min=0, help="Weight decay of AdamW.")] = 0.0,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help="Use less memory; training is about a third slower."
        ),
    ] = False,
    save_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints and dev measurements.")
    ] = 100,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between lines of the log.")] = 10,
    dev_fraction: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Fraction of the images that is set apart as the dev set."
        ),
    ] = 0.1,
    dev_data: Annotated[
        str | None, typer.Option(help="Other training data to use as the dev set.")
    ] = None,
    dev_pairs: Annotated[
        int, typer.Option(min=1, help="Most pairs of the dev set to measure on.")
    ] = 1000,
    best_by: Annotated[
        str | None,
        typer.Option(
            help="Metric whose dev correlation selects the best checkpoint, or mean; default: "
            "itm if it is trained."
        ),
    ] = None,
    mix: Annotated[
        str | None, typer.Option(help="LLaVA JSON of general instructions to mix in.")
    ] = None,
    mix_ratio: Annotated[
        float, typer.Option(min=0, help="Instructions to mix in for each scored pair.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    device: Annotated[str, typer.Option(help="Device to train on: auto, cpu or cuda.")] = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="Precision: auto, float32 or bfloat16; auto is bfloat16 on GPUs that support it."
        ),
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep all checkpoints in OUT/training.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained and stop.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a multimodal model to score, on data that `pairsift balance` wrote.

    Stop it at any moment and run it again: it continues from its last checkpoint. Score with the
    result by `pairsift score --scorer OUT`; the checkpoint holds its prompts.
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
    # With --json, stdout is for the result alone.
    listener = MessageListener(partial(typer.echo, err=json))
    if dry_run:
        emit(describe(settings, listener), json, "nothing was trained (--dry-run)")
        return
    summary = run_training(settings, listener)
    emit(summary.to_json(), json, summary.text())
