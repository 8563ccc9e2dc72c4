"""CLIPScore in published shapes, with random weights."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift import Pair
from pairsift.evaluate.cost.clip_shapes import SHAPES, ClipShape, random_clip
from pairsift.evaluate.cost.flops import count_flops
from tests.samples import jpeg


def _layers(width: int, layers: int, tokens: int) -> int:
    """FLOPs of a transformer: four square projections, two wide ones, two products a head."""
    projections = 4 * 2 * tokens * width * width
    wide = 2 * 2 * tokens * width * 4 * width
    attention = 2 * 2 * tokens * tokens * width
    return layers * (projections + wide + attention)


def _by_hand(shape: ClipShape, caption_tokens: int) -> int:
    patches = (shape.side // shape.patch) ** 2
    (vision, vision_layers, _), (text, text_layers, _) = shape.vision, shape.text
    embedded = 2 * patches * vision * 3 * shape.patch**2
    image = embedded + _layers(vision, vision_layers, patches + 1) + 2 * vision * shape.embedding
    return image + _layers(text, text_layers, caption_tokens) + 2 * text * shape.embedding


@pytest.mark.slow
def test_a_clip_shape_costs_what_its_config_says() -> None:
    shape = ClipShape("small", 64, 16, (32, 2, 4), (24, 3, 2), 20)
    scorer = random_clip(shape, device="cpu")
    rows = [scorer.preparer(Pair(str(n), jpeg(seed=n), "a dog on the beach")) for n in range(3)]
    inputs = [row.inputs for row in rows]
    tokens = len(inputs[0].ids)
    assert tokens == 7  # five words between a start and an end
    assert count_flops(lambda: scorer.score_batch(inputs)) == 3 * _by_hand(shape, tokens)


@pytest.mark.slow
def test_random_weights_read_image_and_caption() -> None:
    scorer = random_clip(ClipShape("small", 64, 16, (32, 2, 4), (24, 3, 2), 20), device="cpu")
    pairs = [
        Pair("a", jpeg(seed=0), "a dog"),
        Pair("b", jpeg(seed=1), "a dog"),
        Pair("c", jpeg(seed=0), "two cats asleep on a red chair"),
    ]
    cosines = scorer.score(pairs)["image_text_cosine"].to_pylist()
    assert len(set(np.round(cosines, 6))) == 3


@pytest.mark.parametrize(
    ("name", "gflop"),
    # Twice the multiply-adds that are published for the image encoders (open_clip's
    # model_profile.csv counts 4.4 and 81.1 billion, 17.6 for B/16), text with 12 tokens on top.
    [("ViT-B/32", 8.8), ("ViT-B/16", 35.1), ("ViT-L/14", 162)],
)
def test_published_shapes_have_their_size(name: str, gflop: float) -> None:
    without_text = _by_hand(SHAPES[name], 0)
    assert without_text / 1e9 == pytest.approx(gflop, rel=0.02)
