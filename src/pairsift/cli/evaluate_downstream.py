"""`pairsift evaluate downstream`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.evaluation import print_table, show_result, split, split_all
from pairsift.cli.options import with_options
from pairsift.cli.progress import ProgressDisplay
from pairsift.errors import PairsiftError
from pairsift.evaluate.options import DownstreamOptions, DownstreamSources
from pairsift.progress import MessageListener

Many = list[str]


def register(commands: typer.Typer) -> None:
    commands.command()(downstream)


@with_options(sources=DownstreamSources, options=DownstreamOptions)
def downstream(
    sources: DownstreamSources,
    options: DownstreamOptions,
    out: Annotated[str, typer.Option(help="Folder for pool, scores, features and results.")],
    classification_limit: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of images to use of each classification set, drawn at random; 0 for all.",
        ),
    ] = 2000,
    scorer: Annotated[
        Many,
        typer.Option(
            help="Scorers to compare: names or checkpoint folders, separated by commas or repeated."
        ),
    ] = [],  # noqa: B006
    keep: Annotated[
        str, typer.Option(help="Fractions that every filter keeps, separated by commas.")
    ] = "0.3",
    rows_per_image: Annotated[int, typer.Option(min=1, help="Pairs of the pool per image.")] = 4,
    pool_seed: Annotated[int, typer.Option(help="Seed of the pool.")] = 0,
    datacomp: Annotated[
        str | None,
        typer.Option(
            help="Scale (small, medium, large or xlarge): train on a --selection with "
            "DataComp's own code.",
            rich_help_panel="DataComp",
        ),
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(help="Folder that `pairsift select` wrote.", rich_help_panel="DataComp"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder that DataComp's download_upstream.py made.", rich_help_panel="DataComp"
        ),
    ] = None,
    datacomp_code: Annotated[
        str, typer.Option(help="Checkout of DataComp's repository.", rich_help_panel="DataComp")
    ] = "datacomp",
    evalsets: Annotated[
        str | None,
        typer.Option(
            help="Folder that DataComp's download_evalsets.py made; default: stream the sets.",
            rich_help_panel="DataComp",
        ),
    ] = None,
    gpus: Annotated[
        int,
        typer.Option(min=1, help="GPUs of this machine to train on.", rich_help_panel="DataComp"),
    ] = 8,
    accumulate: Annotated[
        int,
        typer.Option(
            min=1,
            help="Micro-batches per step, to train with fewer GPUs.",
            rich_help_panel="DataComp",
        ),
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the commands and run nothing.", rich_help_panel="DataComp"
        ),
    ] = False,
    results: Annotated[
        Many,
        typer.Option(
            help="Results file to make a table of, instead of training: "
            "eval_results.jsonl, or open_clip's .csv.",
            rich_help_panel="DataComp",
        ),
    ] = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Train the same small model on what each filter keeps of a noisy pool, and compare.

    The pool is made from images with good captions and from noise of known kinds and rates, or you
    give your own. Stop it at any moment and run it again: what is finished is kept.

    With --datacomp, the official training and 38-task evaluation run instead, on a selection of
    DataComp's pool.
    """
    if datacomp is not None or results:
        _datacomp(
            scale=datacomp,
            results=results,
            dry_run=dry_run,
            as_json=json,
            selection=selection,
            data=data,
            code=datacomp_code,
            out=out,
            gpus=gpus,
            evalsets=evalsets,
            accumulate=accumulate,
        )
        return
    from pairsift.evaluate.downstream.pool import PoolSettings
    from pairsift.evaluate.downstream.run import (
        SCORERS,
        Options,
        evaluate_downstream,
    )

    compared = Options(
        scorers=split_all(scorer) or SCORERS,
        keep=_fractions(keep),
        classification_limit=classification_limit or None,
        pool=PoolSettings(rows=rows_per_image, seed=pool_seed),
        **asdict(options),
    )
    with ProgressDisplay() as progress:
        comparison = evaluate_downstream(sources, out, compared, progress)
    show_result(comparison, {"": comparison.header_and_rows()}, out, json)


def _datacomp(
    scale: str | None, results: list[str], dry_run: bool, as_json: bool, out: str, **given: Any
) -> None:
    from pairsift.evaluate.downstream import datacomp_results
    from pairsift.evaluate.downstream.datacomp import SCALES, DatacompRun, drive, steps

    if scale is not None and scale not in SCALES:
        raise PairsiftError(f"--datacomp {scale!r}: choose from {', '.join(SCALES)}")
    if not results:
        for option in ("selection", "data"):
            if given[option] is None:
                raise PairsiftError(f"--datacomp needs --{option}")
        assert scale is not None  # otherwise there would be results
        run = DatacompRun(scale=scale, out=out, **given)
        if dry_run:
            emit(
                {"steps": [{"name": step.name, "command": step.text()} for step in steps(run)]},
                as_json,
                "\n".join(step.text() for step in steps(run)),
            )
            return
        results = [str(drive(run, MessageListener(partial(typer.echo, err=True))))]
    rows = [row for path in results for row in datacomp_results.read_results(path)]
    datacomp_results.write(rows, scale, out)
    if as_json:
        emit(datacomp_results.to_json(rows, scale), True, "")
        return
    print_table(*datacomp_results.table(rows, scale))
    for note in datacomp_results.notes(rows, scale):
        typer.echo(note)
    typer.echo(f"Written to {out}: datacomp.md, datacomp.json")


def _fractions(text: str) -> list[float]:
    try:
        return [float(value) for value in split(text)]
    except ValueError:
        raise PairsiftError(f"--keep {text!r}: write fractions, for example 0.1,0.3") from None
