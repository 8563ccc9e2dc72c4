"""The novelty of images: photographs on one side, all else on the other, domains of any size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from novelty import fit


def _pictures(
    centers: dict[str, np.ndarray], counts: dict[str, int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = [center + rng.normal(size=(counts[name], 8)) for name, center in centers.items()]
    domain = np.repeat(list(centers), [counts[name] for name in centers])
    return np.concatenate(rows).astype(np.float32), domain


def test_pictures_that_are_no_photographs_are_told() -> None:
    axes = np.eye(8) * 6
    centers = {"coco": axes[0], "flickr8k": axes[1], "diagram": axes[2], "stamps": axes[3]}
    counts = {"coco": 600, "flickr8k": 100, "diagram": 300, "stamps": 40}
    weight, bias = fit(*_pictures(centers, counts, seed=0))
    x, domain = _pictures(centers, counts, seed=1)
    odds = x @ weight + bias
    novel = np.isin(domain, ["diagram", "stamps"])
    assert (odds[novel] > 0).mean() > 0.99
    assert (odds[~novel] < 0).mean() > 0.99


def test_a_small_domain_is_not_drowned_by_a_large_one() -> None:
    """Halfway between both sides, each the mean of its domains by the root of their sizes."""
    points = {"coco": np.zeros(8), "diagram": np.full(8, 4.0), "stamps": np.full(8, -4.0)}
    points["stamps"][0] = 8.0
    counts = {"coco": 400, "diagram": 400, "stamps": 100}
    weight, bias = fit(*_pictures(points, counts, seed=0))
    novel = (points["diagram"] * 20 + points["stamps"] * 10) / 30
    between = (points["coco"] + novel) / 2
    assert abs(between @ weight + bias) < 0.2 * abs(novel @ weight)
