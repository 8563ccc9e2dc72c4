"""`pairsift cascade`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairsift.cli.common import Json, emit, table, tell
from pairsift.cli.options import with_options
from pairsift.cli.progress import ProgressDisplay
from pairsift.errors import PairsiftError
from pairsift.options import Device, SourceOptions

if TYPE_CHECKING:
    from pairsift.cascade.plan import Plan, Thresholds


def register(app: typer.Typer) -> None:
    app.command()(cascade)


@with_options(source=SourceOptions)
def cascade(
    source: SourceOptions,
    shards: Annotated[
        list[str], typer.Argument(help="The shards that will be scored, or some of them.")
    ],
    out: Annotated[str, typer.Option(help="File for the plan, for example plan.json.")],
    cheap: Annotated[
        list[str] | None,
        typer.Option(help="Scorer or checkpoint that runs first; may be repeated, cheapest first."),
    ] = None,
    cheap_by: Annotated[
        list[str] | None,
        typer.Option(
            help="Score column or expression by which a cheap scorer decides, if it has several "
            "columns; one for each --cheap."
        ),
    ] = None,
    full: Annotated[
        str, typer.Option(help="Scorer or checkpoint that scores the undecided pairs.")
    ] = "pairsift-tiny",
    full_option: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE: an option of the full scorer, as for `pairsift score`; may be "
            "repeated."
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="Score column or expression of the cut, as for `pairsift select --by`."),
    ] = "itm",
    keep: Annotated[
        float | None, typer.Option(help="Fraction of pairs that the cut keeps; default: 0.3.")
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(help="Keep all pairs whose --by is at least this value, in place of --keep."),
    ] = None,
    agreement: Annotated[
        float,
        typer.Option(help="Fraction of the selection that must be the same as with full scoring."),
    ] = 0.98,
    audit: Annotated[
        float,
        typer.Option(
            help="Fraction of all pairs that is always fully scored, to measure the agreement."
        ),
    ] = 0.02,
    pairs: Annotated[
        int, typer.Option(min=100, help="Pairs in the sample that sets the thresholds.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of the audit.")] = 0,
    device: Device = None,
    json: Json = False,
) -> None:
    """Plan a cascade: cheap scorers decide the clear cases, the full scorer gets the others.

    All scorers score a sample, which sets the thresholds. `pairsift score --scorer cascade
    --plan FILE` then scores by the plan, and `pairsift select --by cascade` makes the cut.
    """
    from pairsift.cascade.plan import PLAN, Stage
    from pairsift.cascade.planning import PlanRequest, make_plan
    from pairsift.steps import find_input
    from pairsift.storage import output_file

    output_file(out, PLAN)  # checked before hours of scoring
    names = cheap or ["tiny-glance"]
    numbers = cheap_by or [""] * len(names)
    if len(numbers) != len(names):
        raise PairsiftError(
            f"--cheap-by is given {len(numbers)} times for {len(names)} cheap scorers"
        )
    request = PlanRequest(0.3 if keep is None and at is None else keep, at, agreement, audit, seed)
    found = find_input(shards, source)
    tell(found.notes)
    with ProgressDisplay() as progress:
        plan = make_plan(
            found,
            [Stage(name, number) for name, number in zip(names, numbers, strict=True)],
            Stage(full, by, _options(full_option or [])),
            request,
            pairs=pairs,
            device=device,
            listener=progress,
        )
    plan.write(out)
    emit(plan.to_json(), json, f"{describe(plan)}\nin {out}")


def describe(plan: Plan) -> str:
    """Describe a plan in words, with the cost of other agreements."""
    learned = plan.learned
    lines = [
        f"the cut: {plan.cut}, {plan.full.by} >= {plan.threshold:.4g} on "
        f"{learned['pairs']:,} pairs of {learned['shards']:,} shards"
    ]
    for (stage, thresholds), share in zip(plan.stages, learned["settled"], strict=True):
        settles = _settles(stage.by, thresholds)
        lines.append(f"{stage.scorer} {settles}: {100 * share:.1f} % settled")
    lines.append(
        f"{plan.full.scorer} reads the {100 * learned['open']:.1f} % left open, and "
        f"{100 * plan.audit:g} % audited"
    )
    rows = [("agreement", "  open   at most times as fast")]
    rows += [
        (f"{100 * float(wanted):g} %", f"{100 * left:5.1f} %  {1 / plan.read(left):.1f}")
        for wanted, left in learned["open_at_agreement"].items()
    ]
    return "\n".join([*lines, table(rows)])


def _settles(by: str, thresholds: Thresholds) -> str:
    low, high = thresholds.low, thresholds.high
    gives_up = "gives up none" if low is None else f"gives up {by} < {low:.4g}"
    return f"{gives_up}, takes " + ("none" if high is None else f"{by} >= {high:.4g}")


def _options(given: list[str]) -> dict[str, Any]:
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise PairsiftError(f"--full-option {text!r}: write NAME=VALUE, e.g. dtype=bfloat16")
        options[name.replace("-", "_")] = value
    return options
