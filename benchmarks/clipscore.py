"""Compare `pairsift-tiny` with all four metrics to CLIPScore with a ViT-L/14, with the same
threads.

    OMP_NUM_THREADS=1 python benchmarks/clipscore.py

`pairsift evaluate cost` measures; this runs it for these two and checks the ratio.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from pairsift.evaluate.cost.clip_shapes import find_shape
from pairsift.evaluate.cost.run import Options, evaluate_cost

AIMED_AT = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", help="keep table, JSON and plot here")
    given = parser.parse_args(arguments)
    options = Options(
        scorers=["pairsift-tiny"],
        shapes=[find_shape("ViT-L/14")],
        pairs=given.pairs,
        rounds=given.rounds,
        threads=given.threads,
        device=given.device,
    )
    with TemporaryDirectory() as folder:
        cost = evaluate_cost(given.out or folder, options)
    print(cost.markdown())
    tiny, clip = cost.scorers
    ratio = tiny.times(clip)
    assert ratio.ends is not None
    print(f"{ratio.value:.1f} times as fast, {ratio.ends[0]:.1f} to {ratio.ends[1]:.1f}")
    return 0 if ratio.value >= AIMED_AT else 1


if __name__ == "__main__":
    sys.exit(main())
