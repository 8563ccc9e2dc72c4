"""`pairsift evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli import evaluate_cost, evaluate_downstream
from pairsift.cli.common import BatchSize, Device, Dtype, Encoding, Json, Separator
from pairsift.cli.evaluation import show_result, split, split_all
from pairsift.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from pairsift.evaluate.results import Evaluation
    from pairsift.evaluate.run import Options

commands = typer.Typer(
    help="Measure the quality, the cost and the effect of scorers.", no_args_is_help=True
)

Images = Annotated[
    list[str], typer.Option(help="Folder, .tar or .parquet file with the images. May be repeated.")
]
Scorers = Annotated[
    list[str],
    typer.Option(
        "--scorer",
        help="Scorers to measure: names or checkpoint folders, separated by commas or repeated.",
    ),
]
Out = Annotated[
    str,
    typer.Option(
        help="Output folder for the table, the JSON file, the plot and the cache of scores."
    ),
]
Columns = Annotated[
    str | None, typer.Option(help="Score columns to measure, separated by commas; default: all.")
]
Resamples = Annotated[
    int,
    typer.Option(
        min=0, help="Number of bootstrap resamples for the intervals; 0 gives no intervals."
    ),
]
Seed = Annotated[
    int, typer.Option(help="Random seed of the bootstrap and of drawn wrong captions.")
]
By = Annotated[
    str | None,
    typer.Option(
        help="Columns of the table that define slices, each measured separately: domain,language "
        "for each column, domain+language for their combinations."
    ),
]
SkipMissing = Annotated[
    bool,
    typer.Option(
        "--skip-missing", help="Leave out entries without an image instead of reporting an error."
    ),
]


def register(app: typer.Typer) -> None:
    evaluate_cost.register(commands)
    evaluate_downstream.register(commands)
    app.add_typer(commands, name="evaluate")


@commands.command()
def human(
    judgments: Annotated[str, typer.Option(help="File or folder with the human judgments.")],
    protocol: Annotated[
        str,
        typer.Option(
            help="Format and measure of the judgments: flickr8k-expert, flickr8k-cf, composite, "
            "pascal-50s or csv."
        ),
    ],
    out: Out,
    images: Images = [],  # noqa: B006 - Typer reads it and makes a new list for every call
    scorer: Scorers = [],  # noqa: B006
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
    columns: Columns = None,
    by: By = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    skip_missing: SkipMissing = False,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
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
        split(by),
        separator,
        encoding,
    )
    options = _options(
        scorer, images, columns, resamples, seed, skip_missing, device, dtype, batch_size
    )
    with ProgressDisplay() as progress:
        evaluation = evaluate_human(protocol, request, out, options, progress)
    _show(evaluation, out, json)


@commands.command()
def pairs(
    pairs: Annotated[
        str,
        typer.Option(
            help="CSV or parquet file with the columns image, right, wrong and (optional) category."
        ),
    ],
    images: Images,
    scorer: Scorers,
    out: Out,
    separator: Separator = None,
    encoding: Encoding = None,
    columns: Columns = None,
    by: By = None,
    draw_wrong: Annotated[
        bool,
        typer.Option(
            "--draw-wrong",
            help="For a file without wrong captions: draw the wrong caption from another image of "
            "the same slice.",
        ),
    ] = False,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    skip_missing: SkipMissing = False,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    json: Json = False,
) -> None:
    """Measure how often the right caption scores above the wrong one, by category and slice."""
    from pairsift.evaluate.pairs import evaluate_pairs

    options = _options(
        scorer, images, columns, resamples, seed, skip_missing, device, dtype, batch_size
    )
    with ProgressDisplay() as progress:
        evaluation = evaluate_pairs(
            pairs,
            out,
            options,
            progress,
            by=split(by),
            draw=draw_wrong,
            separator=separator,
            encoding=encoding,
        )
    _show(evaluation, out, json)


def _options(
    scorer: list[str],
    images: list[str],
    columns: str | None,
    resamples: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    dtype: str | None,
    batch_size: int | None,
) -> Options:
    from pairsift.evaluate.run import Options

    return Options(
        scorers=split_all(scorer),
        images=images,
        columns=split(columns) or None,
        resamples=resamples,
        seed=seed,
        batch_size=batch_size,
        skip_missing=skip_missing,
        scorer_options={"device": device, "dtype": dtype},
    )


def _show(evaluation: Evaluation, out: str, as_json: bool) -> None:
    tables = {evaluation.title: evaluation.header_and_rows(), **evaluation.slice_tables()}
    show_result(evaluation, tables, out, as_json, left=2)
