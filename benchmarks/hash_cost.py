"""What the hashes add to the time of the quickest scorer.

    python benchmarks/hash_cost.py --images A.tar --rounds 15

Preprocesses the same images by ``heuristics`` alone and with ``--hashes``, in turns, on one thread,
and compares the medians of the processor time.
"""

from __future__ import annotations

import argparse
import statistics
import tarfile
import time
from itertools import islice

from pairsift import Pair, load_scorer

CAPTION = "a brown dog runs along the beach with a ball"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", required=True, help="a tar of images")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    with tarfile.open(asked.images) as tar:
        files = islice((member for member in tar if member.isfile()), asked.count)
        pairs = [Pair(m.name, tar.extractfile(m).read(), CAPTION) for m in files]  # type: ignore[union-attr]
    preparers = {
        "heuristics": load_scorer("heuristics").preparer,
        "heuristics --hashes": load_scorer("heuristics", hashes=True).preparer,
    }
    taken: dict[str, list[float]] = {name: [] for name in preparers}
    for _ in range(asked.rounds):
        for name, prepare in preparers.items():
            begin = time.process_time()
            for pair in pairs:
                prepare(pair)
            taken[name].append((time.process_time() - begin) / len(pairs))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, seconds in medians.items():
        print(f"{name}: {1e6 * seconds:.0f} microseconds a pair")
    first, second = medians.values()
    print(f"the hashes add {100 * (second / first - 1):.1f} %")


if __name__ == "__main__":
    main()
