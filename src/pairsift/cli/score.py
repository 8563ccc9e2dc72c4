"""`pairsift score`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pairsift.cli.common import (
    Adapter,
    BatchSize,
    CaptionField,
    CaptionsFile,
    Device,
    Dtype,
    Encoding,
    ImageField,
    Json,
    Kind,
    Metrics,
    Model,
    PromptFile,
    ScorerName,
    Separator,
    VisionTower,
    emit,
    end_scoring,
    parse_part,
    tell,
)
from pairsift.errors import PairsiftError
from pairsift.printable import printable


def register(app: typer.Typer) -> None:
    app.command()(score)


def score(
    shards: Annotated[
        list[str],
        typer.Argument(
            help="Tars, parquet files or folders: paths, globs, brace lists, fsspec URLs."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder for the score tables.")],
    scorer: ScorerName = "pairsift-tiny",
    model: Model = None,
    vision_tower: VisionTower = None,
    adapter: Adapter = None,
    prompts: PromptFile = None,
    reference_quirks: Annotated[
        bool,
        typer.Option("--reference-quirks", help="Use the model exactly as its authors' code does."),
    ] = False,
    plan: Annotated[
        str | None, typer.Option(help="Of the scorer cascade: what `pairsift cascade` wrote.")
    ] = None,
    w: Annotated[float | None, typer.Option(help="CLIPScore's factor: 1, 2.5 or 100.")] = None,
    metrics: Metrics = None,
    mark_out_of_scope: Annotated[
        bool,
        typer.Option(
            "--mark-out-of-scope",
            help="Tell captions in languages the scorer was not trained for; scores stay.",
        ),
    ] = False,
    languages: Annotated[
        str | None,
        typer.Option(help="For that: languages the scorer reads (en,de), if it does not say."),
    ] = None,
    kind: Kind = None,
    caption_field: CaptionField = None,
    image_field: ImageField = None,
    captions_file: CaptionsFile = None,
    separator: Separator = None,
    encoding: Encoding = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decode processes; 0 decodes in a thread.")
    ] = None,
    max_failure_rate: Annotated[
        float,
        typer.Option(min=0, max=1, help="Stop when more of at least 1,000 tried samples fail."),
    ] = 0.05,
    part: Annotated[
        str | None, typer.Option(help="i/n: only every n-th shard, for several machines.")
    ] = None,
    retry: Annotated[
        str | None,
        typer.Option(help="failed: also score again the rows that failed for a passing reason."),
    ] = None,
    rescore: Annotated[
        str | None,
        typer.Option(
            help="changed: score shards again that were written again since they were scored; "
            "without it, such shards are an error."
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT.")
    ] = None,
    actors: Annotated[
        str | None, typer.Option(help="Scorers on the cluster: N, or LEAST:MOST for a pool.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(min=0, help="Of each scorer on the cluster; may be a fraction.")
    ] = None,
    cpus_per_actor: Annotated[
        int | None, typer.Option(min=1, help="Of each; all beyond the first decode images.")
    ] = None,
    json: Json = False,
) -> None:
    """Score every pair of the shards; one parquet of scores per shard.

    Stop it at any moment and run it again: finished shards are kept, the others are redone. A
    shard that cannot be read is left out and named at the end; the exit code is then 3. If every
    pair that was tried failed, the exit code is 4, and one line says why. Samples that the source
    itself marks as failed are counted apart. Where stderr is no terminal, a line a minute tells how
    far the run is.
    """
    from pairsift.cli.progress import ScoreProgress
    from pairsift.sources import find_shards

    if retry not in (None, "failed"):
        raise PairsiftError(f"--retry {retry!r}: only failed is known")
    if rescore not in (None, "changed"):
        raise PairsiftError(f"--rescore {rescore!r}: only changed is known")

    found = find_shards(
        shards,
        kind,
        caption=caption_field,
        image=image_field,
        captions_file=captions_file,
        separator=separator,
        encoding=encoding,
    )
    tell(found.notes)
    options: dict[str, Any] = {
        "model": model,
        "vision_tower": vision_tower,
        "adapter": adapter,
        "prompts": prompts,
        "reference_quirks": reference_quirks,
        "plan": plan,
        "w": w,
        "metrics": metrics,
        "mark_out_of_scope": mark_out_of_scope,
        "languages": languages,
        "device": device,
        "dtype": dtype,
    }
    shared: dict[str, Any] = {
        "batch_size": batch_size,
        "max_failure_rate": max_failure_rate,
        "part": parse_part(part),
        "retry_failed": retry == "failed",
        "rescore_changed": rescore == "changed",
    }
    on_cluster = {
        "--ray-address": ray_address,
        "--actors": actors,
        "--gpus-per-actor": gpus_per_actor,
        "--cpus-per-actor": cpus_per_actor,
    }
    if engine == "ray":
        from pairsift.engines.ray import RayOptions, ScorerSpec
        from pairsift.engines.ray import score_shards as score_on_ray

        if workers is not None:
            raise PairsiftError("--workers is of the local engine; give --cpus-per-actor")
        spec = ScorerSpec(scorer, options)
        rays = RayOptions(ray_address, _parse_actors(actors), gpus_per_actor, cpus_per_actor or 1)
        with ScoreProgress() as progress:
            summary = score_on_ray(found, spec, out, ray_options=rays, listener=progress, **shared)
    elif engine == "local":
        from pairsift.engines.local import score_shards
        from pairsift.scorers.registry import load_scorer

        for option, value in on_cluster.items():
            if value is not None:
                raise PairsiftError(f"{option} needs --engine ray")
        loaded = load_scorer(scorer, **options)
        with ScoreProgress() as progress:
            summary = score_shards(found, loaded, out, workers=workers, listener=progress, **shared)
    else:
        raise PairsiftError(f"--engine {engine!r}: choose local or ray")
    emit(
        summary.to_json(),
        json,
        "\n".join(
            (
                f"{summary.rows:,} pairs in {summary.seconds:,.1f} s "
                f"({summary.pairs_per_second:,.1f} pairs/s), {summary.failures:,} failed, "
                + (
                    f"{summary.declared:,} marked failed by the source, "
                    if summary.declared
                    else ""
                )
                + f"{summary.scored:,} shards scored, "
                f"{summary.skipped:,} finished before; tables in {out}",
                *summary.failure_lines(),
            )
        ),
    )
    if plan is not None:
        _tell_agreement(out, plan)
    end_scoring(summary)


def _tell_agreement(out: str, plan: str) -> None:
    """With the last shard of a cascade's scores, how far they agree with full scoring."""
    from pairsift.cascade.plan import Plan
    from pairsift.cascade.report import NAME, write_agreement
    from pairsift.select.agreement import describe_agreement
    from pairsift.storage import join

    planned = Plan.load(plan)
    if (found := write_agreement(out, planned)) is not None:
        words = f"{planned.cut}: {describe_agreement(found)}; in {join(out, NAME)}"
        typer.echo(printable(words), err=True)


def _parse_actors(value: str | None) -> int | tuple[int, int] | None:
    if value is None:
        return None
    least, colon, most = value.partition(":")
    if not least.isdigit() or (colon and not most.isdigit()):
        raise PairsiftError(f"--actors {value!r}: write a number, or least:most, e.g. 2:16")
    if int(least) < 1 or (colon and int(most) < int(least)):
        raise PairsiftError(f"--actors {value!r}: at least 1, and not more than the most")
    return (int(least), int(most)) if colon else int(least)
