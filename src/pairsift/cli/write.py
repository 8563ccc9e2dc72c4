"""`pairsift write`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairsift.cli.common import Json, emit
from pairsift.errors import PairsiftError

if TYPE_CHECKING:
    from pairsift.writers.buckets import BucketFolder, WrittenBucket
    from pairsift.writers.datacomp import DatacompFile
    from pairsift.writers.dataset import DatasetFolder
    from pairsift.writers.parquet import ParquetList
    from pairsift.writers.webdataset import WebdatasetFolder


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

    from pairsift.select import read_selection

    outputs = {
        "--datacomp": datacomp,
        "--webdataset": webdataset,
        "--buckets": buckets,
        "--dataset": dataset,
        "--parquet": parquet,
    }
    _check_outputs(outputs)
    chosen = read_selection(selection)
    columns = add_scores.split(",") if add_scores else None
    edges = _numbers(bucket_edges)
    written: dict[str, Any] = {}
    lines: list[str] = []
    # All outputs are prepared, which checks their options, before any of them is written.
    steps: list[tuple[str, Callable[[], Any], Callable[[Any], list[str]]]] = []
    tars: dict[str, Any] = {
        "samples_per_shard": samples_per_shard,
        "scores": columns,
        "root": root,
        "workers": workers,
    }
    if add_scores is not None and not (webdataset or buckets):
        raise PairsiftError("--add-scores is of --webdataset and --buckets; give one of them")
    if datacomp:
        from pairsift.writers.datacomp import write_datacomp

        path = datacomp
        steps.append(
            (
                "datacomp",
                lambda: write_datacomp(chosen, path, duplicates=keep_duplicates),
                _subset_lines,
            )
        )
    if webdataset:
        from pairsift.writers.webdataset import prepare_webdataset

        shards = prepare_webdataset(chosen, webdataset, **tars)
        steps.append(("webdataset", shards.write, _shard_lines))
    if buckets:
        from pairsift.writers.buckets import prepare_buckets

        split = prepare_buckets(chosen, buckets, bucket_by, edges, **tars)
        steps.append(("buckets", split.write, _bucket_lines))
    if dataset:
        from pairsift.writers.dataset import prepare_dataset

        rows = prepare_dataset(chosen, dataset, root=root)
        steps.append(("dataset", rows.write, _dataset_lines))
    if parquet:
        from pairsift.writers.parquet import write_parquet

        target = parquet
        steps.append(("parquet", lambda: write_parquet(chosen, target), _list_lines))
    for name, step, tell in steps:
        outcome = step()
        written[name] = asdict(outcome)
        lines += tell(outcome)
    emit(written, json, "\n".join(lines))


def _check_outputs(outputs: Mapping[str, str | None]) -> None:
    from pairsift.sources.files import normalise
    from pairsift.storage import Folder

    seen: dict[str, str] = {}
    for option, path in outputs.items():
        if not path:
            continue
        whole = normalise(path)
        if whole in seen:
            raise PairsiftError(f"{seen[whole]} and {option} are both {path}; give each its own")
        seen[whole] = option
        if option in ("--datacomp", "--parquet"):
            folder, _, name = whole.rpartition("/")
            Folder(folder or "/").check_output(name)
    if not seen:
        raise PairsiftError(
            "nothing to write: give --datacomp, --webdataset, --buckets, --dataset or --parquet"
        )


def _subset_lines(subset: DatacompFile) -> list[str]:
    repeated = f" ({subset.duplicates:,} repeated left out)" if subset.duplicates else ""
    return [f"{subset.uids:,} uids in {subset.path}{repeated}"]


def _shard_lines(shards: WebdatasetFolder) -> list[str]:
    if not shards.shards:
        return [f"the selection keeps nothing: no shard in {shards.path}"]
    return [f"{shards.samples:,} samples in {shards.train_data}"]


def _bucket_lines(split: BucketFolder) -> list[str]:
    if not split.buckets:
        return [f"the selection keeps nothing: no bucket in {split.path}"]
    lines = [
        f"{bucket.folder.samples:,} samples with {_range(bucket, split.column)} in "
        f"{bucket.folder.path}"
        for bucket in split.buckets
    ]
    return [*lines, f"--train-data '{split.train_data}'"]


def _dataset_lines(rows: DatasetFolder) -> list[str]:
    if not rows.rows:
        return [f"the selection keeps nothing: no row in {rows.path}"]
    return [f"{rows.rows:,} rows in {rows.path}: load_dataset({rows.path!r})"]


def _list_lines(listed: ParquetList) -> list[str]:
    return [f"{listed.rows:,} rows in {listed.path}"]


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
