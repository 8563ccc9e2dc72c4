r"""Tell pictures that are no photographs: a linear discriminant of what the untuned encoder sees.

    python training/novelty.py --weights WEIGHTS --cache CACHE --out CACHE/novelty.npz \
        --json training/novelty.json

Photographs against diagrams, clip art, pictures of documentation and cut-out stamps, by the mean
over the encoder's last map, of at most `MOST` pictures of a domain; a domain counts as the square
root of those taken, and both sides count alike. The log odds (Fisher's discriminant, one
covariance for both) become the model's `novelty`. Writes its weight and bias, and how many dev
pictures of each domain are marked at the limit above which `SHARE` of the dev photographs are.
`unseen`: the same of a domain that the discriminant has not seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS

from grids import whole_pictures
from weights import load_lite2

PHOTOGRAPHS = ("flickr8k", "coco", "web", "photograph", "coco_mini")
SHARE = 0.02
MOST = 3000
"""Pictures of a domain, dev pictures first."""
RIDGE = 0.05
"""Of the mean variance of a feature, added to each."""


def _moments(x: np.ndarray, domain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, place, count = np.unique(domain, return_inverse=True, return_counts=True)
    weight = (1 / np.sqrt(count))[place]
    weight /= weight.sum()
    mean = weight @ x
    return mean, ((x - mean) * weight[:, None]).T @ (x - mean)


def fit(x: np.ndarray, domain: np.ndarray) -> tuple[np.ndarray, float]:
    """Weight (F,) and bias of the log odds that a picture with features x (N, F) is no photograph.

    The bias is that of equal odds halfway between both means.
    """
    photograph = np.isin(domain, PHOTOGRAPHS)
    (usual, one), (novel, other) = (
        _moments(x[side], domain[side]) for side in (photograph, ~photograph)
    )
    both = (one + other) / 2
    both += RIDGE * np.trace(both) / len(both) * np.eye(len(both), dtype=both.dtype)
    weight = np.linalg.solve(both, novel - usual)
    return weight, -float(weight @ (novel + usual)) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "cache", "out", "json"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    table = pq.read_table(args.cache / "pictures.parquet", columns=["domain", "dev"])
    domain, dev = (np.array(table[name].to_pylist()) for name in ("domain", "dev"))
    rng = np.random.default_rng(0)
    # Dev pictures first, then train pictures in random order.
    order = np.lexsort((rng.random(len(dev)), ~dev))
    rows = np.sort(
        np.concatenate([order[domain[order] == name][:MOST] for name in dict.fromkeys(domain)])
    )
    pixels = np.load(args.cache / "pictures.pixels.npy", mmap_mode="r")
    found = [seen.pooled for _, seen in whole_pictures(load_lite2(args.weights), pixels, rows)]
    x = torch.cat(found).float().numpy()[:, : FEATURE_WIDTHS[-1]]
    domain, dev = domain[rows], dev[rows]
    photograph = np.isin(domain, PHOTOGRAPHS)

    def marked(left_out: str | None) -> tuple[np.ndarray, float, float, dict[str, float]]:
        train = ~dev & (domain != left_out)
        weight, bias = fit(x[train], domain[train])
        novelty = 1 / (1 + np.exp(-(x @ weight + bias)))
        limit = float(np.quantile(novelty[photograph & dev], 1 - SHARE))
        share = {
            name: round(100 * float((novelty[dev & (domain == name)] > limit).mean()), 1)
            for name in dict.fromkeys(domain)
        }
        return weight, bias, limit, share

    weight, bias, limit, share = marked(None)
    others = [name for name in share if name not in PHOTOGRAPHS]
    unseen = {name: marked(name)[3][name] for name in others}
    np.savez(args.out, weight=weight, bias=np.float32(bias))
    result = {"limit": round(limit, 4), "marked, % of dev pictures": share, "unseen": unseen}
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
