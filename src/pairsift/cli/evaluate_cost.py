"""`pairsift evaluate cost`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pairsift.cli.common import Json
from pairsift.cli.evaluation import show_result, split, split_all
from pairsift.cli.options import with_options
from pairsift.cli.progress import ProgressDisplay
from pairsift.evaluate.options import CostOptions

NO_SHAPE = "none"


def register(commands: typer.Typer) -> None:
    commands.command()(cost)


@with_options(options=CostOptions)
def cost(
    options: CostOptions,
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
    json: Json = False,
) -> None:
    """Measure pairs per second, operations and memory of scorers, and project them to whole pools.

    Each scorer has its own process. All are in memory at once and score the same pairs in turns,
    with the same number of threads, so that a disturbance of the machine affects all. Every round
    has new images. CLIPScore is measured with random weights: its cost is real, its scores are not.
    """
    from pairsift.evaluate.cost.clip_shapes import find_shape
    from pairsift.evaluate.cost.run import Options, evaluate_cost

    measured = Options(
        scorers=split_all(scorer) or None,
        shapes=[find_shape(name) for name in split(clip_shape) if name != NO_SHAPE],
        **asdict(options),
    )
    with ProgressDisplay() as progress:
        found = evaluate_cost(out, measured, progress)
    tables = {
        "": found.header_and_rows(),
        found.projection_title: found.projection_table(),
    }
    show_result(found, tables, out, json)
