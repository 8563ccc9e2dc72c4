"""`pairsift serve`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pairsift.cli.options import with_options
from pairsift.options import BatchSize, LoadOptions


def register(app: typer.Typer) -> None:
    app.command()(serve)


@with_options(scorer=LoadOptions)
def serve(
    scorer: LoadOptions,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Any address but the loopback needs an API key."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    api_key_file: Annotated[
        str | None,
        typer.Option(
            help="File with the API key that clients must send; or set $PAIRSIFT_API_KEY."
        ),
    ] = None,
    no_api_key: Annotated[
        bool, typer.Option("--no-api-key", help="Accept requests without an API key.")
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Fetch images from URLs that clients send.")
    ] = False,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            help="Private network from which images may be fetched, e.g. 10.1.0.0/16; may be "
            "repeated."
        ),
    ] = None,
    batch_size: BatchSize = None,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a batch waits for more pairs.")
    ] = 10.0,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode images; 0 decodes in threads.")
    ] = 1,
    max_body_mib: Annotated[float, typer.Option(help="Largest request body, in MiB.")] = 32.0,
    max_image_mib: Annotated[float, typer.Option(help="Largest encoded image, in MiB.")] = 16.0,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Largest decoded image, in pixels.")
    ] = 32_000_000,
    max_pairs: Annotated[int, typer.Option(min=1, help="Most pairs in one request.")] = 64,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Most pairs waiting; beyond it clients get status 429.")
    ] = (512),
    max_memory_mib: Annotated[
        float,
        typer.Option(
            help="Most memory for all open requests, in MiB; beyond it clients get status 503."
        ),
    ] = 256.0,
    time_limit: Annotated[
        float,
        typer.Option(
            min=0.1, help="Time limit of a request in seconds; then the client gets status 504."
        ),
    ] = (120.0),
) -> None:
    """Score over HTTP: POST /score, with /healthz, /metrics and /openapi.json.

    Only this machine can connect unless --host says otherwise, and no URL is fetched unless
    --allow-remote does. After SIGTERM or Ctrl-C the open requests are finished first.
    """
    from pairsift.scorers.registry import load_scorer
    from pairsift.serve import ServeSettings
    from pairsift.serve import serve as run
    from pairsift.serve.settings import MIB, read_api_key

    settings = ServeSettings(
        host=host,
        port=port,
        api_key=read_api_key(api_key_file),
        open_to_all=no_api_key,
        allow_remote=allow_remote,
        allow_networks=tuple(allow_network or ()),
        batch_size=batch_size,
        max_wait=max_wait_ms / 1000,
        workers=workers,
        max_body=int(max_body_mib * MIB),
        max_image=int(max_image_mib * MIB),
        max_pixels=max_pixels,
        max_pairs=max_pairs,
        max_queue=max_queue,
        max_bytes=int(max_memory_mib * MIB),
        time_limit=time_limit,
    )
    named = asdict(scorer)
    loaded = load_scorer(named.pop("scorer"), **named)
    run(
        loaded,
        settings,
        ready=lambda url: typer.echo(
            f"serving {loaded.name} on {url} (press Ctrl-C to stop); API description: "
            f"{url}/openapi.json"
        ),
    )
