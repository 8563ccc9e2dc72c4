"""The ways to read a prompt against each other: one model, the same pairs, in turns.

    python -m benchmarks.ways [--pairs 8] [--rounds 3]

A LLaVA-NeXT of random weights and small widths, asked the four metrics of the default pack with
numbers from 0 to 100. Times are CPU seconds of this process, which a busy machine disturbs less
than the clock.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers

from pairsift.scorers.mlm.hub import WAYS
from pairsift.scorers.mlm.load import load_mlm_scorer
from tests.models.sweep import save
from tests.scorers.mlm.checkpoints import make_pairs

WIDER = {
    "text_config.hidden_size": 256,
    "text_config.intermediate_size": 768,
    "text_config.num_hidden_layers": 6,
    "text_config.num_attention_heads": 8,
    "text_config.num_key_value_heads": 4,
    "text_config.head_dim": 32,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    pairs = make_pairs(options.pairs, words=(10, 40))
    with tempfile.TemporaryDirectory() as folder:
        save("llava_next", Path(folder), torchvision=False, changes=WIDER)
        scorers = {way: load_mlm_scorer(folder, way=way, device="cpu") for way in WAYS}
    found = {way: scorer.distributions(pairs) for way, scorer in scorers.items()}  # warms up, too
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, scorer in scorers.items():
            start = time.process_time()
            scorer.score(pairs, batch_size=options.pairs)
            seconds[way].append(time.process_time() - start)
    best = statistics.median(seconds["tree"])
    print("way      seconds a pair  times tree  largest difference to whole")
    for way in WAYS:
        median = statistics.median(seconds[way])
        apart = np.abs(found[way] - found["whole"]).max()
        print(f"{way:8} {median / len(pairs):14.3f} {median / best:11.1f}  {apart:.1e}")


if __name__ == "__main__":
    main()
