"""`pairsift evaluate cost`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Device, Json
from pairsift.cli.evaluation import show_result, split, split_all
from pairsift.cli.progress import ProgressDisplay

NO_SHAPE = "none"


def register(commands: typer.Typer) -> None:
    commands.command()(cost)


def cost(
    out: Annotated[str, typer.Option(help="Folder for table, JSON and plot.")],
    scorer: Annotated[
        list[str],
        typer.Option(
            help="Names or checkpoint folders, joined by commas or repeated; by default, every "
            "installed scorer that needs no checkpoint."
        ),
    ] = [],  # noqa: B006 - Typer reads it and makes a new list for every call
    clip_shape: Annotated[
        str,
        typer.Option(help="Shapes of CLIPScore with random weights, by commas; or none."),
    ] = "ViT-B/32,ViT-L/14",
    shards: Annotated[
        list[str],
        typer.Option(help="With the pairs; the demonstration's photographs by default."),
    ] = [],  # noqa: B006
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Of a round; of 12 images by default, 768 with a GPU.")
    ] = None,
    captions_per_image: Annotated[
        int, typer.Option(min=1, help="Pairs that share an image; models may encode it once.")
    ] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="In which all scorers take turns.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch on the CPU.")] = 1,
    baseline: Annotated[
        str | None,
        typer.Option(help="Which the others are compared with; CLIPScore ViT-L/14 by default."),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Of the projection.")] = 1,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Of one device, in any currency.")
    ] = None,
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16, where a scorer takes it.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pairs a batch; each scorer's own by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure pairs per second, operations and memory of scorers, and project them to whole pools.

    All scorers are in memory at once, each in a process of its own, and take turns on the same
    pairs and the same number of threads, so that what disturbs the machine falls on all alike.
    Every round has new images. CLIPScore's random weights cost what trained ones do; its scores
    mean nothing here.
    """
    from pairsift.evaluate.cost.clip_shapes import find_shape
    from pairsift.evaluate.cost.run import Options, evaluate_cost

    options = Options(
        scorers=split_all(scorer) or None,
        shapes=[find_shape(name) for name in split(clip_shape) if name != NO_SHAPE],
        shards=shards,
        pairs=pairs,
        captions_per_image=captions_per_image,
        rounds=rounds,
        threads=threads,
        batch_size=batch_size,
        baseline=baseline,
        device=device,
        dtype=dtype,
        devices=devices,
        price_per_hour=price_per_hour,
    )
    with ProgressDisplay() as progress:
        found = evaluate_cost(out, options, progress)
    tables = {
        "": found.header_and_rows(),
        found.projection_title: found.projection_table(),
    }
    show_result(found, tables, out, json)
