"""`pairsift explain`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.errors import PairsiftError
from pairsift.options import Model, Scorer

if TYPE_CHECKING:
    from pairsift.explain import Explanation


def register(app: typer.Typer) -> None:
    app.command()(explain)


@with_options()
def explain(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    caption: Annotated[str, typer.Argument(help="The caption to score the image with.")],
    scorer: Scorer = "pairsift-tiny",
    model: Model = None,
    rationale: Annotated[
        bool, typer.Option(help="Ask the model for its reasons, if it can answer in text.")
    ] = True,
    json: Json = False,
) -> None:
    """Show the scores of one pair, how certain they are, and what each metric measures."""
    from pairsift.explain import explain as explain_pair
    from pairsift.scorers.registry import load_scorer
    from pairsift.sources.files import refuse_special

    try:
        refuse_special(os.fspath(image))
        content = image.read_bytes()
    except OSError as error:
        raise PairsiftError(f"cannot read {image}: {error.strerror}") from None
    loaded = load_scorer(scorer, model=model)
    found = explain_pair(content, caption, loaded, rationale=rationale)
    emit(
        {"image": str(image), "caption": caption, "metrics": [item.to_json() for item in found]},
        json,
        "\n\n".join(_describe(item) for item in found),
    )


def _describe(item: Explanation) -> str:
    axis = f"0{'50':>26}{'100':>25}"
    reason = f"\n {item.rationale}" if item.rationale else ""
    return (
        f"{item.metric}  {item.score:.1f} ± {item.std:.1f}  (most likely {item.top})\n"
        f"{item.title}: {item.asks}\n {item.plot()}\n {axis}{reason}"
    )
