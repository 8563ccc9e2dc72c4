"""`pairsift evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli import evaluate_cost, evaluate_downstream
from pairsift.cli.common import Json
from pairsift.cli.evaluation import show_result, split, split_all
from pairsift.cli.options import with_options
from pairsift.cli.progress import ProgressDisplay
from pairsift.errors import PairsiftError
from pairsift.evaluate.options import EvaluateOptions
from pairsift.options import Encoding, Separator

if TYPE_CHECKING:
    from pairsift.evaluate.results import Evaluation
    from pairsift.evaluate.run import Options as Comparison

commands = typer.Typer(
    help="Measure the quality, the cost and the effect of scorers.", no_args_is_help=True
)

Out = Annotated[
    str,
    typer.Option(
        help="Output folder for the table, the JSON file, the plot and the cache of scores."
    ),
]


def register(app: typer.Typer) -> None:
    evaluate_cost.register(commands)
    evaluate_downstream.register(commands)
    app.add_typer(commands, name="evaluate")


@commands.command()
@with_options(options=EvaluateOptions)
def human(
    options: EvaluateOptions,
    judgments: Annotated[str, typer.Option(help="File or folder with the human judgments.")],
    protocol: Annotated[
        str,
        typer.Option(
            help="Format and measure of the judgments: flickr8k-expert, flickr8k-cf, composite, "
            "pascal-50s or csv."
        ),
    ],
    out: Out,
    captions: Annotated[
        str | None,
        typer.Option(
            help="File with the captions, if the judgments refer to them by number; for example "
            "Flickr8k.token.txt."
        ),
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            help="With --protocol csv: columns of the judgments file that hold scores to compare, "
            "separated by commas."
        ),
    ] = None,
    image_column: Annotated[
        str, typer.Option(help="With --protocol csv: column of the image name.")
    ] = "image",
    caption_column: Annotated[
        str, typer.Option(help="With --protocol csv: column of the caption.")
    ] = "caption",
    score_column: Annotated[
        str, typer.Option(help="With --protocol csv: column of the human score.")
    ] = "score",
    separator: Separator = None,
    encoding: Encoding = None,
    json: Json = False,
) -> None:
    """Measure how well scores correlate with human judgments, as published benchmarks do.

    Every score column is measured: both the expected scores (`itm`) and the most likely ones
    (`itm_top`), because ties change the correlation.
    """
    from pairsift.evaluate.human import evaluate_human
    from pairsift.evaluate.protocols import Request

    request = Request(
        judgments,
        captions,
        split(given),
        (image_column, caption_column, score_column),
        split(options.by),
        separator,
        encoding,
    )
    with ProgressDisplay() as progress:
        evaluation = evaluate_human(protocol, request, out, _comparison(options), progress)
    _show(evaluation, out, json)


@commands.command()
@with_options(options=EvaluateOptions)
def pairs(
    options: EvaluateOptions,
    pairs: Annotated[
        str,
        typer.Option(
            help="CSV or parquet file with the columns image, right, wrong and (optional) category."
        ),
    ],
    out: Out,
    separator: Separator = None,
    encoding: Encoding = None,
    draw_wrong: Annotated[
        bool,
        typer.Option(
            "--draw-wrong",
            help="For a file without wrong captions: draw the wrong caption from another image of "
            "the same slice.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Measure how often the right caption scores above the wrong one, by category and slice."""
    from pairsift.evaluate.pairs import evaluate_pairs

    if not options.scorer:
        raise PairsiftError("there is nothing to measure: give a scorer with --scorer")
    with ProgressDisplay() as progress:
        evaluation = evaluate_pairs(
            pairs,
            out,
            _comparison(options),
            progress,
            by=split(options.by),
            draw=draw_wrong,
            separator=separator,
            encoding=encoding,
        )
    _show(evaluation, out, json)


def _comparison(options: EvaluateOptions) -> Comparison:
    from pairsift.evaluate.run import Options

    return Options(
        scorers=split_all(options.scorer),
        images=options.images,
        columns=split(options.columns) or None,
        resamples=options.resamples,
        seed=options.seed,
        batch_size=options.batch_size,
        skip_missing=options.skip_missing,
        scorer_options={"device": options.device, "dtype": options.dtype},
    )


def _show(evaluation: Evaluation, out: str, as_json: bool) -> None:
    tables = {evaluation.title: evaluation.header_and_rows(), **evaluation.slice_tables()}
    show_result(evaluation, tables, out, as_json, left=2)
