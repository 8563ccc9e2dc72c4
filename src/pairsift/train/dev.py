"""Agreement with the teacher on pairs that are not trained on, measured by the scorer itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.statistics import correlations
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Scorer
from pairsift.scorers.batches import score_prepared
from pairsift.train.examples import Example
from pairsift.train.settings import MEAN

# Times a distance of up to 100 points, this stays below any relevant difference between taus.
_TIE = 1e-7


def measure(
    scorer: Scorer,
    examples: Sequence[Example],
    pair_of: Callable[[Example], Pair],
    metrics: Sequence[str],
    batch_size: int,
) -> dict[str, float | None]:
    """Score the examples and compare the expected scores with the teacher's.

    Returns:
        for each metric that the teacher scored: ``tau_itm`` (Kendall tau-b; None if it is
            undefined),
        ``mae_itm`` (mean absolute difference, points) and ``std_itm`` (mean standard deviation of
        the distributions, points); and the means ``tau`` and ``mae``.

    Raises:
        PairsiftError: a pair cannot be scored; the error names it.
    """

    def prepared() -> Iterator[object]:
        for example in examples:
            yield scorer.preparer(pair_of(example))

    table = score_prepared(scorer, prepared(), batch_size)  # type: ignore[arg-type]
    for row, status in enumerate(table["status"].to_pylist()):
        if status != Status.OK.value:
            why = table["error"][row].as_py()
            raise PairsiftError(f"dev pair {examples[row].image}: {status}: {why}")
    found: dict[str, float | None] = {}
    taus, distances = [], []
    for metric in metrics:
        known = np.array([metric in example.scores for example in examples])
        if not known.any():
            continue
        taught = np.array([e.scores[metric] for e in examples if metric in e.scores])
        said = table[metric].to_numpy()[known].astype(np.float64)
        tau = correlations(said, taught)["tau_b"]
        found[f"tau_{metric}"] = tau if np.isfinite(tau) else None
        distances.append(float(np.abs(said - taught).mean()))
        found[f"mae_{metric}"] = distances[-1]
        found[f"std_{metric}"] = float(table[f"{metric}_std"].to_numpy()[known].mean())
        taus.append(tau if np.isfinite(tau) else 0.0)
    return {"tau": float(np.mean(taus)), "mae": float(np.mean(distances)), **found}


def decisive(found: dict[str, float | None], best_by: str) -> float:
    """Return the number by which the best checkpoint is chosen: tau, and for equal tau the smaller
    error.

    An undefined tau counts as -1, the worst.
    """
    suffix = "" if best_by == MEAN else f"_{best_by}"
    tau = found.get(f"tau{suffix}")
    distance = found.get(f"mae{suffix}")
    return (-1.0 if tau is None else tau) - _TIE * (distance or 0.0)
