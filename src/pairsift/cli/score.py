"""`pairsift score`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit, parse_part


def register(app: typer.Typer) -> None:
    app.command()(score)


def score(
    shards: Annotated[
        list[str],
        typer.Argument(
            help="Tars, parquet files or folders: paths, globs, brace lists, fsspec URLs."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder for the score tables.")],
    scorer: Annotated[
        str, typer.Option(help="Name of a scorer, or a folder that holds a checkpoint.")
    ] = "pairsift-tiny",
    model: Annotated[str | None, typer.Option(help="Checkpoint of the scorer.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Of itm,odf,ctq,su; all where the scorer has them.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="webdataset, parquet or folder, if not plain to see.")
    ] = None,
    caption_field: Annotated[
        str | None, typer.Option(help="Member suffix, column or CSV field that holds the caption.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pairs a batch.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decode processes; 0 decodes in a thread.")
    ] = None,
    max_failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Stop when more of at least 1,000 samples fail.")
    ] = 0.05,
    part: Annotated[
        str | None, typer.Option(help="i/n: only every n-th shard, for several machines.")
    ] = None,
    json: Json = False,
) -> None:
    """Score every pair of the shards; one parquet of scores per shard.

    Stop it at any moment and run it again: finished shards are kept, the others are redone.
    """
    from pairsift.cli.progress import ScoreProgress
    from pairsift.engines.local import score_shards
    from pairsift.scorers.registry import load_scorer
    from pairsift.sources import find_shards

    found = find_shards(shards, kind, **({"caption": caption_field} if caption_field else {}))
    options = {"model": model, "metrics": metrics, "device": device, "dtype": dtype}
    loaded = load_scorer(scorer, **options)
    with ScoreProgress() as progress:
        summary = score_shards(
            found,
            loaded,
            out,
            batch_size=batch_size,
            workers=workers,
            max_failure_rate=max_failure_rate,
            part=parse_part(part),
            listener=progress,
        )
    emit(
        summary.to_json(),
        json,
        f"{summary.rows:,} pairs in {summary.seconds:,.1f} s "
        f"({summary.pairs_per_second:,.1f} pairs/s), {summary.failures:,} failed, "
        f"{summary.shards - summary.skipped:,} shards scored, "
        f"{summary.skipped:,} finished before; tables in {out}",
    )
