"""`pairsift explain`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.errors import PairsiftError
from pairsift.options import Model, PromptPack, Scorer

if TYPE_CHECKING:
    from pairsift.explain import Explanation


# More answers are plotted in one line.
_LISTED = 12
_BAR = 40


def register(app: typer.Typer) -> None:
    app.command()(explain)


@with_options()
def explain(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    caption: Annotated[str, typer.Argument(help="The caption to score the image with.")],
    scorer: Scorer = "pairsift-tiny",
    model: Model = None,
    prompts: PromptPack = None,
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
    except IsADirectoryError:
        raise PairsiftError(
            f"{image} is a folder; explain reads one image file and its caption"
        ) from None
    except OSError as error:
        raise PairsiftError(f"cannot read {image}: {error.strerror}") from None
    loaded = load_scorer(scorer, model=model, prompts=prompts)
    found = explain_pair(content, caption, loaded, rationale=rationale)
    emit(
        {"image": str(image), "caption": caption, "metrics": [item.to_json() for item in found]},
        json,
        "\n\n".join(_describe(item) for item in found),
    )


def _describe(item: Explanation) -> str:
    reason = f"\n {item.rationale}" if item.rationale else ""
    lower = " (lower is better)" if item.better == "lower" else ""
    spread = 1 if item.values[-1] - item.values[0] >= 10 else 3
    return (
        f"{item.metric}  {item.score:.{spread}f} ± {item.std:.{spread}f}  "
        f"(most likely {item.top:g})\n{item.title}: {item.asks}{lower}\n"
        f"{_distribution(item)}{reason}"
    )


def _distribution(item: Explanation) -> str:
    """A bar for each of a few answers, or all of many in one line."""
    if len(item.answers) > _LISTED:
        plot = item.plot()
        ends = f"{item.values[0]:g}", f"{item.values[-1]:g}"
        middle = f"{(item.values[0] + item.values[-1]) / 2:g}"
        half = len(plot) // 2 + 1
        return f" {plot}\n {ends[0]}{middle:>{half}}{ends[1]:>{len(plot) + 1 - half}}"
    width = max(map(len, item.answers))
    return "\n".join(
        f" {answer:>{width}} {p:6.1%} {'█' * round(_BAR * p)}".rstrip()
        for answer, p in zip(item.answers, item.probabilities, strict=True)
    )
