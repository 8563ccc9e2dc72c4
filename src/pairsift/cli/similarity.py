"""`pairsift normsim`, `pairsift neg-clip-loss` and `pairsift semantic-duplicates`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.options import NegClipLossOptions, NormSimOptions, SemanticDuplicatesOptions

Scores = Annotated[
    list[str], typer.Argument(help="Folders that `pairsift score --embeddings` wrote.")
]
ValuesOut = Annotated[str, typer.Option(help="The parquet file to write, for `select --join`.")]
GroupsOut = Annotated[str, typer.Option(help="Folder for groups.parquet, for `select --groups`.")]


def register(app: typer.Typer) -> None:
    app.command()(normsim)
    app.command()(neg_clip_loss)
    app.command()(semantic_duplicates)


@with_options(options=NormSimOptions)
def normsim(options: NormSimOptions, scores: Scores, out: ValuesOut, json: Json = False) -> None:
    """Compare each image with the images of a target set (NormSim, arXiv 2405.19547)."""
    _run("normsim", scores, options, out, json)


@with_options(options=NegClipLossOptions)
def neg_clip_loss(
    options: NegClipLossOptions, scores: Scores, out: ValuesOut, json: Json = False
) -> None:
    """Compare each pair's cosine with those of its batch (negCLIPLoss, arXiv 2405.19547)."""
    _run("neg_clip_loss", scores, options, out, json)


@with_options(options=SemanticDuplicatesOptions)
def semantic_duplicates(
    options: SemanticDuplicatesOptions, scores: Scores, out: GroupsOut, json: Json = False
) -> None:
    """Group images whose embeddings nearly agree (SemDeDup, arXiv 2303.09540)."""
    _run("semantic_duplicates", scores, options, out, json)


def _run(step: str, scores: list[str], options: object, out: str, json: bool) -> None:
    from dataclasses import asdict

    from pairsift import steps
    from pairsift.cli.progress import ProgressDisplay

    with ProgressDisplay() as progress:
        made = getattr(steps, step)(scores, options, out, progress)
    emit(asdict(made), json, "\n".join(made.lines()))
