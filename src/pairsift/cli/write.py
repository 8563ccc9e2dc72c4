"""`pairsift write`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairsift.cli.common import Json, emit
from pairsift.errors import PairsiftError

if TYPE_CHECKING:
    from pairsift.writers.buckets import WrittenBucket


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
    dataset: Annotated[
        str | None, typer.Option(help="Folder for a Hugging Face dataset, images included.")
    ] = None,
    buckets: Annotated[
        str | None, typer.Option(help="Folder for new tars in a folder for each range of a score.")
    ] = None,
    bucket_by: Annotated[str, typer.Option(help="The score that --buckets go by.")] = "itm",
    bucket_edges: Annotated[
        str, typer.Option(help="Where one bucket ends and the next begins, joined by commas.")
    ] = "50,66,80",
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Of the new tars.")] = 10_000,
    add_scores: Annotated[
        str | None,
        typer.Option(help="Score columns, joined by commas, to put into each sample's .json."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that write tars; if not set, as many as pay."),
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

    from pairsift import writers
    from pairsift.select import read_selection

    if not (datacomp or webdataset or parquet or dataset or buckets):
        raise PairsiftError(
            "nothing to write: give --datacomp, --webdataset, --buckets, --dataset or --parquet"
        )
    columns = add_scores.split(",") if add_scores else None
    chosen = read_selection(selection)
    written: dict[str, Any] = {}
    lines = []
    if datacomp:
        subset = writers.write_datacomp(chosen, datacomp, duplicates=keep_duplicates)
        written["datacomp"] = asdict(subset)
        lines.append(
            f"{subset.uids:,} uids in {subset.path}"
            + (f" ({subset.duplicates:,} repeated left out)" if subset.duplicates else "")
        )
    if webdataset:
        shards = writers.write_webdataset(
            chosen,
            webdataset,
            samples_per_shard=samples_per_shard,
            scores=columns,
            root=root,
            workers=workers,
        )
        written["webdataset"] = asdict(shards)
        lines.append(f"{shards.samples:,} samples in {shards.train_data}")
    if buckets:
        split = writers.write_buckets(
            chosen,
            buckets,
            bucket_by,
            _numbers(bucket_edges),
            samples_per_shard=samples_per_shard,
            scores=columns,
            root=root,
            workers=workers,
        )
        written["buckets"] = asdict(split)
        lines += [
            f"{bucket.folder.samples:,} samples with {_range(bucket, bucket_by)} in "
            f"{bucket.folder.path}"
            for bucket in split.buckets
        ]
        lines.append(f"--train-data '{split.train_data}'")
    if dataset:
        rows = writers.write_dataset(chosen, dataset, root=root)
        written["dataset"] = asdict(rows)
        lines.append(f"{rows.rows:,} rows in {rows.path}: load_dataset({rows.path!r})")
    if parquet:
        listed = writers.write_parquet(chosen, parquet)
        written["parquet"] = asdict(listed)
        lines.append(f"{listed.rows:,} rows in {listed.path}")
    emit(written, json, "\n".join(lines))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise PairsiftError(
            f"--bucket-edges {text!r}: give numbers joined by commas, for example 50,66,80"
        ) from None


def _range(bucket: WrittenBucket, column: str) -> str:
    low = "" if bucket.low is None else f"{bucket.low:g} <= "
    high = "" if bucket.high is None else f" < {bucket.high:g}"
    return f"{low}{column}{high}"
