"""The untuned encoder's features of all pictures, for `novelty.py` and `look.py`.

    python training/grids.py --weights WEIGHTS --cache CACHE

Writes CACHE/pooled.npy (N, 2560) and CACHE/grid.npy (N, 36, 1454), float16, in the order of
`pictures.parquet`, of the whole pictures as the finished model reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pairsift.scorers.mlm.tiny.config import GRID_SIDE, GRID_WIDTH, POOLED_WIDTH
from pairsift.scorers.mlm.tiny.features import image_features
from pairsift.scorers.mlm.tiny.preprocess import preprocess
from PIL import Image

from tower import READ_SIDE
from weights import load_lite2

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    encoder = load_lite2(args.weights)
    pixels = np.load(args.cache / "pictures.pixels.npy", mmap_mode="r")
    shape = (len(pixels), GRID_SIDE**2, GRID_WIDTH)
    grids = np.lib.format.open_memmap(args.cache / "grid.npy", "w+", np.float16, shape)
    pooled = np.zeros((len(pixels), POOLED_WIDTH), np.float16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for at in range(0, len(pixels), BATCH):
            rows = slice(at, at + BATCH)
            some = [preprocess(Image.fromarray(p), READ_SIDE) for p in pixels[rows]]
            seen = image_features(encoder, torch.from_numpy(np.stack(some)))
            grids[rows], pooled[rows] = seen.grid.float().numpy(), seen.pooled.float().numpy()
            if at % 3200 == 0:
                print(f"{at} of {len(pixels)}", flush=True)
    grids.flush()
    np.save(args.cache / "pooled.npy", pooled)


if __name__ == "__main__":
    main()
