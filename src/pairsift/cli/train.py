"""`pairsift train`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.progress import MessageListener
from pairsift.train.options import StageOptions, TrainOptions


def register(app: typer.Typer) -> None:
    app.command()(train)


@with_options(options=TrainOptions, chosen=StageOptions)
def train(
    options: TrainOptions,
    chosen: StageOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained and stop.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a multimodal model to score, on data that `pairsift balance` wrote.

    Stop it at any moment and run it again: it continues from its last checkpoint. Score with the
    result by `pairsift score --scorer OUT`; the checkpoint holds its prompts.
    """
    from pairsift.metrics import split_names
    from pairsift.train.run import describe
    from pairsift.train.run import train as run_training
    from pairsift.train.settings import Lora, Settings, parse_stages

    rank = chosen.lora
    settings = Settings(
        stages=parse_stages(
            chosen.stages,
            epochs=chosen.epochs,
            steps=chosen.steps,
            learning_rates=chosen.learning_rate,
            lora=rank > 0,
        ),
        metrics=tuple(split_names(chosen.metrics)) if chosen.metrics else None,
        lora=Lora(rank, chosen.lora_alpha or 2 * rank, chosen.lora_dropout) if rank else None,
        **asdict(options),
    )
    # With --json, stdout is for the result alone.
    listener = MessageListener(partial(typer.echo, err=json))
    if dry_run:
        emit(describe(settings, listener), json, "nothing was trained (--dry-run)")
        return
    summary = run_training(settings, listener)
    emit(summary.to_json(), json, summary.text())
