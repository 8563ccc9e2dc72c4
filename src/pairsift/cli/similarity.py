"""`pairsift normsim`, `pairsift neg-clip-loss` and `pairsift semantic-duplicates`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit

Scores = Annotated[
    list[str], typer.Argument(help="Folders that `pairsift score --embeddings` wrote.")
]
ValuesOut = Annotated[str, typer.Option(help="The parquet file to write, for `select --join`.")]
Seed = Annotated[int, typer.Option(help="Seed of what is drawn at random.")]


def register(app: typer.Typer) -> None:
    app.command()(normsim)
    app.command()(neg_clip_loss)
    app.command()(semantic_duplicates)


def normsim(
    scores: Scores,
    target: Annotated[
        list[str],
        typer.Option(
            help="Score folder with the embeddings of the target set, by the same scorer. May be "
            "repeated."
        ),
    ],
    out: ValuesOut,
    norm: Annotated[
        str,
        typer.Option(
            help="How target images are combined: 2 (root of the sum of squared cosines) or inf "
            "(the nearest one)."
        ),
    ] = "2",
    json: Json = False,
) -> None:
    """Compare each image with the images of a target set (NormSim, arXiv 2405.19547)."""
    from dataclasses import asdict

    from pairsift.cli.progress import ProgressDisplay
    from pairsift.similarity.normsim import normsim as compare

    with ProgressDisplay() as progress:
        made = compare(scores, target, out, norm=norm, listener=progress)
    emit(asdict(made), json, f"{made.rows:,} rows of {made.name} in {made.path}")


def neg_clip_loss(
    scores: Scores,
    out: ValuesOut,
    batch: Annotated[int, typer.Option(min=1, help="Pairs in a batch.")] = 32_768,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, help="How often the pairs are divided into random batches; results are averaged."
        ),
    ] = 10,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the loss that the model was trained with.")
    ] = 0.01,
    seed: Seed = 0,
    chunk: Annotated[
        int, typer.Option(min=1, help="Rows in memory at a time; batches are drawn from them.")
    ] = 1_000_000,
    json: Json = False,
) -> None:
    """Compare each pair's cosine with those of its batch (negCLIPLoss, arXiv 2405.19547)."""
    from dataclasses import asdict

    from pairsift.cli.progress import ProgressDisplay
    from pairsift.similarity.negclip import neg_clip_loss as compare

    with ProgressDisplay() as progress:
        made = compare(
            scores, out, batch=batch, rounds=rounds, temperature=temperature, seed=seed,
            chunk=chunk, listener=progress,
        )  # fmt: skip
    emit(asdict(made), json, f"{made.rows:,} rows of {made.name} in {made.path}")


def semantic_duplicates(
    scores: Scores,
    out: Annotated[str, typer.Option(help="Folder for groups.parquet, for `select --groups`.")],
    epsilon: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Images whose cosine is above 1 - EPSILON are put into one group."
        ),
    ] = 0.05,
    clusters: Annotated[
        int | None,
        typer.Option(min=1, help="Clusters of k-means; default: the square root of the rows."),
    ] = None,
    seed: Seed = 0,
    memory_limit: Annotated[str, typer.Option(help="Memory for the pairs, e.g. 2GB.")] = "2GB",
    json: Json = False,
) -> None:
    """Group images whose embeddings nearly agree (SemDeDup, arXiv 2303.09540)."""
    from dataclasses import asdict

    from pairsift.cli.progress import ProgressDisplay
    from pairsift.similarity.semantic import semantic_duplicates as find

    with ProgressDisplay() as progress:
        made = find(
            scores, out, epsilon=epsilon, clusters=clusters, seed=seed, memory_limit=memory_limit,
            listener=progress,
        )  # fmt: skip
    words = (
        f"{made.grouped:,} of {made.rows:,} rows are in {made.groups:,} groups, the largest of "
        f"{made.largest:,}; {made.clusters:,} clusters, {made.pairs:,} pairs; written to {out}"
    )
    emit(asdict(made), json, words)
