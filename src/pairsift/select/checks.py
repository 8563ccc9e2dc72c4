"""Check a query's options and expressions before any row is read."""

from __future__ import annotations

from fractions import Fraction

from pairsift.errors import PairsiftError
from pairsift.expressions.compiler import compile_expression
from pairsift.expressions.terms import Columns, Kind, Term


def check_options(
    top: float | None,
    count: int | None,
    by: str | None,
    per: str | None,
    groups: str | None,
    per_group: int | None,
    best_caption: bool,
    unique: bool = False,
) -> None:
    if best_caption and by is None:
        raise PairsiftError("--best-caption needs --by (what to rank captions by), e.g. --by itm")
    if (groups is None) != (per_group is None):
        raise PairsiftError(
            "--groups (the folder that `pairsift dedup` wrote) and --per-group (how many rows to "
            "keep of each group) belong together; for example --groups copies --per-group 1"
        )
    if per_group is not None and per_group < 1:
        raise PairsiftError(f"--per-group {per_group}: keep at least 1 row of each group")
    if top is not None and count is not None:
        raise PairsiftError("--top and --count cannot be used together; give one")
    if top is not None and not 0 <= top <= 1:
        raise PairsiftError(f"--top {top} is not a fraction from 0 to 1; 0.3 keeps 30 %")
    if count is not None and count < 0:
        raise PairsiftError(f"--count {count} is negative")
    ranks = top is not None or count is not None
    chooses = ranks or per_group is not None or best_caption or unique
    if (ranks and by is None) or (by is not None and not chooses):
        raise PairsiftError(
            "--top or --count (how many rows to keep) needs --by (what to rank them by), and --by "
            "needs one of them; for example --top 0.3 --by itm"
        )
    if per is not None and not ranks:
        raise PairsiftError(
            "--per applies --top to each group separately; give --top (or --count) and --by too"
        )


def check_sample(sample: int | None, weights: str | None, penalty: float, *, ranks: bool) -> None:
    if (sample is None) != (weights is None):
        raise PairsiftError(
            "--sample (how many rows to draw) and --weights (how likely each is drawn) belong "
            'together; for example --sample 100000 --weights "exp(itm/20)"'
        )
    if sample is None:
        return
    if ranks:
        raise PairsiftError(
            "--sample draws rows, --top and --count cut; give one of them. A condition in --where "
            "may come before either"
        )
    if sample < 0:
        raise PairsiftError(f"--sample {sample} is negative")
    if not penalty >= 0:
        raise PairsiftError(f"--repeat-penalty {penalty}: give 0, a positive number, or inf")


def check_expressions(
    columns: Columns,
    where: str | None,
    by: str | None,
    per: str | None,
    weights: str | None = None,
) -> set[str]:
    """Compile without reading any row; return the columns used, also those in percentiles."""
    used: set[str] = set()

    def note(term: Term, percent: Fraction, name: str) -> float:
        used.update(term.columns)
        return 0.0

    for text, option, kind in (
        (where, "--where", Kind.BOOLEAN), (by, "--by", Kind.NUMBER), (per, "--per", None),
        (weights, "--weights", Kind.NUMBER),
    ):  # fmt: skip
        if text is None:
            continue
        term = compile_expression(text, columns, option, note)
        if kind is None and term.kind is Kind.OTHER:
            raise PairsiftError(f'{option} "{text}" is {term.kind.value}; group by another column')
        if kind is not None and term.kind is not kind:
            raise PairsiftError(
                f'{option} "{text}" is {term.kind.value}; {kind.value} is needed, for example '
                + ('"itm >= 66"' if kind is Kind.BOOLEAN else '"itm"')
            )
        used |= term.columns
    return used
