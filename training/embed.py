"""Embed pictures with a tower (`tower.py`), for `dev.py` and for later fits.

    python training/embed.py --weights WEIGHTS --cache CACHE --tower RUN/tower.pt --out DEV.npy

Writes (N, 384), one row per picture of `pictures.parquet`; zeros if it is not in the requested
part. With `--features`, also writes the pooled features (N, 2560) float16 as OUT.features.npy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from tower import Table, Tower, embed
from weights import load_lite2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "cache", "tower", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="train pictures too")
    parser.add_argument("--features", action="store_true")
    args = parser.parse_args()
    table = Table.load(args.cache, np.load(args.cache / "center.npy"))
    state = torch.load(args.tower, weights_only=True)
    tower = Tower(load_lite2(args.weights), table.vectors.shape[1], len(state["words.bias"]))
    tower.load_state_dict(state)
    rows = np.arange(len(table.dev)) if args.all else np.flatnonzero(table.dev)
    units, features = embed(tower, table.pixels[rows])
    out = np.zeros((len(table.dev), units.shape[1]), np.float32)
    out[rows] = units
    np.save(args.out, out)
    if args.features:
        wide = np.zeros((len(table.dev), features.shape[1]), np.float16)
        wide[rows] = features
        np.save(args.out.with_suffix(".features.npy"), wide)


if __name__ == "__main__":
    main()
