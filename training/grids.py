"""The untuned encoder's features of all pictures, for `look.py`.

    python training/grids.py --weights WEIGHTS --cache CACHE

Writes CACHE/pooled.npy (N, 2560) and CACHE/grid.npy (N, 36, 1454), float16, in the order of
`pictures.parquet`, of the whole pictures as the finished model reads them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pairsift.scorers.mlm.lite import Lite2
from pairsift.scorers.mlm.tiny.config import GRID_SIDE, GRID_WIDTH, POOLED_WIDTH
from pairsift.scorers.mlm.tiny.features import Seen, image_features
from pairsift.scorers.mlm.tiny.preprocess import preprocess
from PIL import Image

from tower import READ_SIDE
from weights import load_lite2

BATCH = 16


@torch.inference_mode()
def whole_pictures(
    encoder: Lite2, pixels: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, Seen]]:
    """Yield some rows after the other with the encoder's features of these pictures."""
    for at in range(0, len(rows), BATCH):
        some = rows[at : at + BATCH]
        read = [preprocess(Image.fromarray(pixels[row]), READ_SIDE) for row in some]
        with torch.autocast("cpu", torch.bfloat16):
            seen = image_features(encoder, torch.from_numpy(np.stack(read)))
        yield some, seen
        if at % 3200 == 0:
            print(f"{at} of {len(rows)}", flush=True)


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
    for rows, seen in whole_pictures(encoder, pixels, np.arange(len(pixels))):
        grids[rows], pooled[rows] = seen.grid.float().numpy(), seen.pooled.float().numpy()
    grids.flush()
    np.save(args.cache / "pooled.npy", pooled)


if __name__ == "__main__":
    main()
