"""`pairsift evaluate cost`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json
from pairsift.cli.evaluation import show_result, split, split_all
from pairsift.cli.options import with_options
from pairsift.cli.progress import ProgressDisplay
from pairsift.options import Device

NO_SHAPE = "none"


def register(commands: typer.Typer) -> None:
    commands.command()(cost)


@with_options()
def cost(
    out: Annotated[str, typer.Option(help="Folder for table, JSON and plot.")],
    scorer: Annotated[
        list[str],
        typer.Option(
            help="Scorers to measure: names or checkpoint folders, separated by commas or "
            "repeated; default: every installed scorer that needs no checkpoint."
        ),
    ] = [],  # noqa: B006 - Typer reads it and makes a new list for every call
    clip_shape: Annotated[
        str,
        typer.Option(
            help="Shapes of CLIPScore to measure with random weights, separated by commas; or none."
        ),
    ] = "ViT-B/32,ViT-L/14",
    shards: Annotated[
        list[str],
        typer.Option(help="Shards with the pairs to score; default: the demo's photographs."),
    ] = [],  # noqa: B006
    pairs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pairs per round; default: those of 12 images, or of 768 images with a GPU."
        ),
    ] = None,
    captions_per_image: Annotated[
        int, typer.Option(min=1, help="Captions per image; a model may encode the image only once.")
    ] = 1,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Number of rounds; in each, all scorers run one after the other."),
    ] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Number of PyTorch threads on the CPU.")] = 1,
    baseline: Annotated[
        str | None,
        typer.Option(help="Scorer to compare the others with; default: CLIPScore ViT-L/14."),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Number of devices in the projection.")] = 1,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of one device for an hour, in any currency.")
    ] = None,
    device: Device = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Precision of the models, if a scorer has the option: float32, bfloat16 "
            "or float16."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pairs per batch; default: each scorer's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure pairs per second, operations and memory of scorers, and project them to whole pools.

    Each scorer has its own process. All are in memory at once and score the same pairs in turns,
    with the same number of threads, so that a disturbance of the machine affects all. Every round
    has new images. CLIPScore is measured with random weights: its cost is real, its scores are not.
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
