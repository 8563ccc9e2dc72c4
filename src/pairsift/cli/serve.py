"""`pairsift serve`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pairsift.cli.options import with_options
from pairsift.options import LoadOptions, ServeOptions


def register(app: typer.Typer) -> None:
    app.command()(serve)


@with_options(scorer=LoadOptions, options=ServeOptions)
def serve(scorer: LoadOptions, options: ServeOptions) -> None:
    """Score over HTTP: POST /score, with /healthz, /metrics and /openapi.json.

    Only this machine can connect unless --host says otherwise, and no URL is fetched unless
    --allow-remote does. After SIGTERM or Ctrl-C the open requests are finished first.
    """
    from pairsift.scorers.registry import load_scorer
    from pairsift.serve import serve as run
    from pairsift.serve.settings import settings_of

    settings = settings_of(options)  # before a model is loaded
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
