"""`pairsift import`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit, end_scoring
from pairsift.cli.options import with_options
from pairsift.options import ImportOptions


def register(app: typer.Typer) -> None:
    app.command("import")(import_scores)


@with_options(options=ImportOptions)
def import_scores(
    options: ImportOptions,
    out: Annotated[str, typer.Option(help="Folder for the score tables.")],
    json: Json = False,
) -> None:
    """Make a score folder of scores that were made elsewhere.

    select, report, explore and write read it like any other. With --pool, each sample of the pool
    becomes a row, and its images can be seen and written. Without, each row of the tables becomes
    one: select, report, explore, --parquet and (with uids) --datacomp work, without images.

    The exit codes are those of `pairsift score`.
    """
    from pairsift import steps
    from pairsift.cli.progress import ProgressDisplay

    with ProgressDisplay() as progress:
        summary = steps.import_scores(options, out, progress)
    emit(summary.to_json(), json, "\n".join(summary.lines()))
    end_scoring(summary.run)
