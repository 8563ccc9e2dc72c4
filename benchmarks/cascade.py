"""Compare a cascade with full scoring on the same pairs: speed, and agreement.

    pairsift cascade POOL/0000[45].tar --out plan.json --audit 0.1
    python benchmarks/cascade.py speed POOL/00006.tar --plan plan.json --pairs 400 --rounds 3

    pairsift score POOL/0000[23].tar --scorer cascade --plan plan.json --out by-cascade
    pairsift score POOL/0000[23].tar --out in-full
    python benchmarks/cascade.py agreement by-cascade in-full --by itm --keep 0.3

``speed``: in every round both score pairs that neither has scored before, so that no cache helps.
``agreement`` compares the two selections pair by pair, and says whether the interval that was
estimated on the audited pairs contains the true value. It also prints cost and agreement for other
thresholds, set on the first half of the shards and measured on the rest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from pairsift import Pair, load_scorer
from pairsift.cascade.calibrate import calibrate
from pairsift.cascade.columns import VALUE
from pairsift.cascade.plan import Plan
from pairsift.cascade.planning import AGREEMENTS
from pairsift.cascade.scorer import load_stage
from pairsift.scorers.base import Scorer
from pairsift.scorers.batches import score_prepared
from pairsift.select import select
from pairsift.sources import find_shards, open_shard


def measure_speed(shards: list[str], plan_path: str, count: int, rounds: int) -> dict[str, Any]:
    """Time both per pair, without decoding.

    On a CPU it measures processor time, which other programs disturb less than wall time.
    """
    plan = Plan.load(plan_path)
    scorers = {"full": load_stage(plan.full), "cascade": load_scorer("cascade", plan=plan)}
    pairs = itertools.chain.from_iterable(open_shard(one) for one in find_shards(shards).shards)
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    warm_up = list(itertools.islice(pairs, 32))
    for scorer in scorers.values():
        scorer.score(warm_up)
    for turn in range(rounds):
        own = list(itertools.islice(pairs, count))
        order = list(scorers) if turn % 2 == 0 else list(scorers)[::-1]
        for name in order:
            seconds[name].append(_seconds(scorers[name], own) / len(own))
    ratios = np.array(seconds["full"]) / np.array(seconds["cascade"])
    return {
        "pairs": count * rounds,
        "milliseconds_a_pair": {
            name: [round(1000 * one, 2) for one in values] for name, values in seconds.items()
        },
        "times_as_fast": [round(float(ratio), 3) for ratio in ratios],
        "mean": round(sum(seconds["full"]) / sum(seconds["cascade"]), 3),
    }


def _seconds(scorer: Scorer, pairs: list[Pair]) -> float:
    rows = [scorer.preparer(pair) for pair in pairs]
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    begin = clock()
    score_prepared(scorer, rows, scorer.batch_size)
    return clock() - begin


def measure_agreement(cascade: str, full: str, by: str, keep: float) -> dict[str, Any]:
    """Compare two score folders of the same shards."""
    names = sorted(path.name for path in Path(cascade).glob("*.parquet"))
    ours = pq.read_table([f"{cascade}/{name}" for name in names])
    theirs = pq.read_table([f"{full}/{name}" for name in names])
    if ours["key"] != theirs["key"]:
        sys.exit("the two folders are not of the same pairs")
    estimate = select(cascade, top=keep, by=VALUE, threads=1).record.agreement
    value = theirs[by].to_numpy().astype(float)
    unaudited = ours["cascade_unaudited"].to_numpy().astype(float)
    assert estimate is not None
    without, with_audit = (
        _common(column, value, keep) for column in (unaudited, ours[VALUE].to_numpy().astype(float))
    )
    return {
        "pairs": len(ours),
        "read_in_full": round(1 - ours[by].null_count / len(ours), 4),
        "agreement": round(without, 4),
        "agreement_with_audited_rows": round(with_audit, 4),
        "estimate": estimate,
        "covers": bool(estimate["low"] <= without <= estimate["high"]),
        "curve": _curve(ours, value, keep),
    }


def _common(first: np.ndarray, second: np.ndarray, keep: float) -> float:
    """Return the fraction that the best by one have in common with the best by the other."""
    count = int(keep * len(first))
    best = (set(np.argsort(-column, kind="stable")[:count].tolist()) for column in (first, second))
    return len(set.intersection(*best)) / count


def _curve(ours: Any, full: np.ndarray, keep: float) -> list[dict[str, float]]:
    """Return points by the first stage's value, which every row has."""
    by = json.loads(ours.schema.metadata[b"pairsift.fingerprint"])["stages"].split(", ")[0]
    column = {"tiny-glance": "glance", "dual-encoder": "dual_encoder"}[by]
    cheap = ours[column].to_numpy().astype(float)
    half = len(cheap) // 2
    found = []
    for wanted in AGREEMENTS:
        rules = calibrate([cheap[:half]], full[:half], wanted, keep=keep)
        [rule] = rules.thresholds
        settled = rule.given_up(cheap[half:]) | rule.taken(cheap[half:])
        value = full[half:].astype(np.float32)
        value[settled] = rule.estimate(cheap[half:][settled], rules.threshold)
        agreement = _common(value, full[half:], keep)
        found.append(
            {
                "wanted": wanted,
                "open": round(1 - float(settled.mean()), 4),
                "agreement": round(agreement, 4),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("shards", nargs="+")
    speed.add_argument("--plan", required=True)
    speed.add_argument("--pairs", type=int, default=400, help="a round")
    speed.add_argument("--rounds", type=int, default=3)
    agreement = commands.add_parser("agreement")
    agreement.add_argument("cascade")
    agreement.add_argument("full")
    agreement.add_argument("--by", default="itm")
    agreement.add_argument("--keep", type=float, default=0.3)
    given = parser.parse_args()
    if given.command == "speed":
        result = measure_speed(given.shards, given.plan, given.pairs, given.rounds)
    else:
        result = measure_agreement(given.cascade, given.full, given.by, given.keep)
    print(json.dumps({"machine": platform.processor() or platform.machine(), **result}, indent=1))


if __name__ == "__main__":
    main()
