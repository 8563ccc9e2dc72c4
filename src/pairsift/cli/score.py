"""`pairsift score`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairsift.cli.common import Json, emit, end_scoring, tell
from pairsift.cli.options import with_options
from pairsift.options import ScoreOptions
from pairsift.printable import printable


def register(app: typer.Typer) -> None:
    app.command()(score)


@with_options(options=ScoreOptions)
def score(
    options: ScoreOptions,
    out: Annotated[str, typer.Option(help="Folder for the score tables.")],
    json: Json = False,
) -> None:
    """Score every pair of the shards; one parquet file of scores per shard.

    Stop it at any moment and run it again: finished shards are kept, the others are scored again. A
    shard that cannot be read is skipped and named at the end; the exit code is then 3. If every
    pair that was tried failed, the exit code is 4, and one line says why. Samples that the source
    itself marks as failed are counted separately. If stderr is not a terminal, the progress is one
    line per minute.
    """
    from pairsift import steps
    from pairsift.cli.progress import ProgressDisplay

    steps.check_score(options)
    found = steps.find_input(options.shards, options)
    tell(found.notes)
    with ProgressDisplay() as progress:
        summary = steps.score(options, found, out, progress)
    declared = f"{summary.declared:,} marked failed by the source, " if summary.declared else ""
    line = (
        f"{summary.rows:,} pairs in {summary.seconds:,.1f} s "
        f"({summary.pairs_per_second:,.1f} pairs/s), {summary.failures:,} failed, {declared}"
        f"{summary.scored:,} shards scored, {summary.skipped:,} finished before; tables in {out}"
    )
    emit(summary.to_json(), json, "\n".join((line, *summary.failure_lines())))
    if options.plan is not None:
        _tell_agreement(out, options.plan)
    end_scoring(summary)


def _tell_agreement(out: str, plan: str) -> None:
    """After the last shard of a cascade's run, print the agreement with full scoring."""
    from pairsift.cascade.plan import Plan
    from pairsift.cascade.report import NAME, write_agreement
    from pairsift.select.agreement import describe_agreement
    from pairsift.storage import join

    planned = Plan.load(plan)
    if (found := write_agreement(out, planned)) is not None:
        words = f"{planned.cut}: {describe_agreement(found)}; in {join(out, NAME)}"
        typer.echo(printable(words), err=True)
