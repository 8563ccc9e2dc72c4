"""Compare `pairsift-tiny` in bfloat16 with float32: pairs/s, and how far scores differ.

    OMP_NUM_THREADS=1 python benchmarks/tiny_dtype.py --shards 'pool/*.tar'

Pairs are those of the shards; without shards, crops of the demo's photographs. Both dtypes and
CLIPScore ViT-B/32 with random weights (float32) score the same pairs in turns; the figures are
medians of processor time over the rounds, after one to warm up. Every round has new images.

    OMP_NUM_THREADS=1 python benchmarks/tiny_dtype.py --shards 'pool/*.tar' --pairs 2000

scores so many pairs in bfloat16, decoding in the same process, and prints the peak memory of the
process on the way.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch

from pairsift import load_scorer
from pairsift.evaluate.cost.clip_shapes import find_shape, random_clip
from pairsift.evaluate.cost.memory import peak_resident_mib
from pairsift.evaluate.cost.pairs import demo_rounds, shard_rounds
from pairsift.metrics import METRICS
from pairsift.scorers.base import Prepared
from pairsift.scorers.batches import score_prepared
from pairsift.sources import find_shards, open_shard


def main(arguments: Sequence[str] | None = None) -> int | str:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shards", nargs="*", default=[])
    parser.add_argument("--images", type=int, default=12, help="images per round")
    parser.add_argument("--captions", type=int, default=1, help="captions per image")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-clip", action="store_true", help="compare the dtypes alone")
    parser.add_argument("--pairs", type=int, help="measure the memory of so many pairs")
    given = parser.parse_args(arguments)
    if given.pairs and not given.shards:
        parser.error("--pairs needs --shards with as many pairs")
    torch.set_num_threads(1)
    if given.pairs:
        return print_peaks(given.shards, given.pairs)
    wanted = (given.rounds + 1, given.images * given.captions, given.captions)
    rounds = shard_rounds(given.shards, *wanted) if given.shards else demo_rounds(*wanted)
    scorers = {
        dtype: load_scorer("pairsift-tiny", device="cpu", dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }
    if not given.no_clip:
        scorers["CLIPScore ViT-B/32"] = random_clip(find_shape("ViT-B/32"), device="cpu")
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    for number, pairs in enumerate(rounds):
        order = list(scorers)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            scorer = scorers[name]
            begin = time.process_time()
            rows = [scorer.preparer(pair) for pair in pairs]
            table = score_prepared(scorer, rows, scorer.batch_size)
            end = time.process_time()
            if set(table["status"].to_pylist()) != {"ok"}:
                sys.exit(f"{name} could not score every pair")
            seconds[name].append(end - begin)
            if "itm" in table.column_names:
                scores[name].append(np.stack([table[m].to_numpy() for m in METRICS], 1))
    for name, taken in seconds.items():
        times = [b / a for a, b in zip(taken[1:], seconds["float32"][1:], strict=True)]
        print(
            f"{name}: {len(rounds[0]) / median(taken[1:]):.1f} pairs/s, {median(times):.2f} "
            f"[{min(times):.2f}, {max(times):.2f}] times float32"
        )
    from scipy.stats import kendalltau, spearmanr  # memory is measured without it

    exact, quick = (np.concatenate(scores[name]) for name in ("float32", "bfloat16"))
    for column, metric in enumerate(METRICS):
        a, b = exact[:, column], quick[:, column]
        apart = np.abs(a - b)
        print(
            f"{metric}: {len(a)} pairs, apart {apart.mean():.3f} on average, "
            f"{np.quantile(apart, 0.99):.2f} at the 99th percentile, at most {apart.max():.2f}; "
            f"Spearman {spearmanr(a, b)[0]:.5f}, Kendall {kendalltau(a, b)[0]:.4f}"
        )
    return 0


def print_peaks(shards: Sequence[str], count: int) -> int | str:
    """Score the first pairs of shards and print the peak after 256, 1,000 and all of them."""
    scorer = load_scorer("pairsift-tiny", device="cpu", dtype="bfloat16")
    pairs = (pair for shard in find_shards(shards).shards for pair in open_shard(shard))
    rows = map(scorer.preparer, itertools.islice(pairs, count))
    done = 0

    def watch(scored: Sequence[Prepared]) -> None:
        nonlocal done
        before, done = done, done + len(scored)
        if any(before < mark <= done for mark in (256, 1000, count)):
            print(f"{done} pairs: {peak_resident_mib():.0f} MiB at most")

    score_prepared(scorer, rows, scorer.batch_size, watch)
    return 0 if done == count else f"the shards have {done} pairs only"


if __name__ == "__main__":
    sys.exit(main())
