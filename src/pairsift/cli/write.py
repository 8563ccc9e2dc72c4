"""`pairsift write`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pairsift.cli.common import Json, emit
from pairsift.errors import PairsiftError


def register(app: typer.Typer) -> None:
    app.command()(write)


def write(
    selection: Annotated[str, typer.Argument(help="Folder that `pairsift select` wrote.")],
    datacomp: Annotated[
        str | None, typer.Option(help="Subset file (.npy) for DataComp's resharder.")
    ] = None,
    webdataset: Annotated[
        str | None, typer.Option(help="Folder for new tars; members are copied byte for byte.")
    ] = None,
    parquet: Annotated[
        str | None, typer.Option(help="List of the kept rows with their scores.")
    ] = None,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Of the new tars.")] = 10_000,
    add_scores: Annotated[
        str | None,
        typer.Option(help="Score columns, joined by commas, to put into each sample's .json."),
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="Where the scored shards lie now, if they were moved.")
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep a repeated uid in the .npy.")
    ] = False,
    json: Json = False,
) -> None:
    """Turn a selection into data to train on."""
    from dataclasses import asdict

    from pairsift.select import read_selection
    from pairsift.writers import write_datacomp, write_parquet, write_webdataset

    if not (datacomp or webdataset or parquet):
        raise PairsiftError("nothing to write: give --datacomp, --webdataset or --parquet")
    chosen = read_selection(selection)
    written: dict[str, Any] = {}
    lines = []
    if datacomp:
        subset = write_datacomp(chosen, datacomp, duplicates=keep_duplicates)
        written["datacomp"] = asdict(subset)
        lines.append(
            f"{subset.uids:,} uids in {subset.path}"
            + (f" ({subset.duplicates:,} repeated left out)" if subset.duplicates else "")
        )
    if webdataset:
        shards = write_webdataset(
            chosen,
            webdataset,
            samples_per_shard=samples_per_shard,
            scores=add_scores.split(",") if add_scores else None,
            root=root,
        )
        written["webdataset"] = asdict(shards)
        lines.append(f"{shards.samples:,} samples in {shards.train_data}")
    if parquet:
        listed = write_parquet(chosen, parquet)
        written["parquet"] = asdict(listed)
        lines.append(f"{listed.rows:,} rows in {listed.path}")
    emit(written, json, "\n".join(lines))
