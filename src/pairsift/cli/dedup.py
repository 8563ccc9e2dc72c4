"""`pairsift dedup` and `pairsift hashes`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.options import DedupOptions


def register(app: typer.Typer) -> None:
    app.command()(dedup)
    app.command()(hashes)


@with_options(options=DedupOptions)
def dedup(
    options: DedupOptions,
    scores: Annotated[
        list[str],
        typer.Argument(help="Folders that `pairsift score` wrote with --hashes, or by `hashes`."),
    ],
    out: Annotated[str, typer.Option(help="Folder for groups.parquet and marks.parquet.")],
    json: Json = False,
) -> None:
    """Find groups of copies across all shards, and images of evaluation sets.

    Nothing is removed: `pairsift select --groups OUT --per-group 1` keeps the best of each group,
    and `--exclude OUT` leaves out what is near an evaluation set. Stop it at any moment and run it
    again: it resumes.
    """
    from dataclasses import asdict

    from pairsift import steps
    from pairsift.cli.progress import ProgressDisplay

    with ProgressDisplay() as progress:
        summary = steps.dedup(scores, options, out, progress)
    emit(asdict(summary), json, "\n".join([*summary.lines(), f"written to {out}"]))


def hashes(
    images: Annotated[
        list[str], typer.Argument(help="Folders, tars or parquet files that hold the images.")
    ],
    out: Annotated[str, typer.Option(help="The parquet file to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the set; default: that of the folder or file.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the hashes of a set of images into a small file, for `pairsift dedup --against`.

    The list holds names and hashes but no images, so it can be shared even if the images cannot.
    """
    from dataclasses import asdict

    from pairsift.cli.progress import ProgressDisplay
    from pairsift.dedup import write_hash_list

    with ProgressDisplay() as progress:
        made = write_hash_list(images, out, name, progress)
    words = f"{made.images:,} images hashed into {out}"
    if made.without_phash:
        words += (
            f"; {made.without_phash:,} of them, of one colour or not readable, are found only as "
            "the very same file"
        )
    emit(asdict(made), json, words)
