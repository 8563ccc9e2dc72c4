"""Small models and captions for tests of the embedded filter."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from pairsift.scorers.mlm.tiny.captions import Captions, collate  # noqa: E402
from pairsift.scorers.mlm.tiny.config import TinyConfig  # noqa: E402
from pairsift.scorers.mlm.tiny.inputs import CaptionTokens  # noqa: E402

SMALL = TinyConfig(
    layers=2, width=64, heads=4, key_value_heads=2, feed_forward=96, vocabulary=300, words=40,
    words_kept=3, classes_kept=2, meaning=32, curve=6, sentence_layers=1, sentence_heads=4,
    sentence_feed_forward=48, sentence_vocabulary=200,
)  # fmt: skip


def captions(lengths: list[int]) -> Captions:
    rng = np.random.default_rng(2)
    return collate(
        [
            CaptionTokens(
                rng.integers(3, 300, length).tolist(),
                rng.integers(3, 200, length + 3).tolist(),
                False,
            )
            for length in lengths
        ]
    )
