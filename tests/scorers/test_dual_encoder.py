"""The dual encoder: a scorer like any other, which prefers the right caption."""

from __future__ import annotations

import numpy as np
import pytest

from pairsift import load_scorer
from pairsift.pair import Pair, Status
from pairsift.scorers.dual_encoder import DualEncoderScorer

data = pytest.importorskip("skimage.data")
CAPTIONS = {
    "chelsea": "a close-up of a cat's face",
    "coffee": "a cup of coffee with a spoon on a saucer",
    "rocket": "a rocket standing on its launch pad at night",
}


@pytest.fixture(scope="module")
def scorer() -> DualEncoderScorer:
    scorer = load_scorer("dual-encoder", device="cpu")
    assert isinstance(scorer, DualEncoderScorer)
    return scorer


def _photo(name: str) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(getattr(data, name)()).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.slow
def test_the_right_caption_of_a_photograph_wins(scorer: DualEncoderScorer) -> None:
    pairs = [
        Pair(f"{image}-{caption}", _photo(image), CAPTIONS[caption])
        for image in CAPTIONS
        for caption in CAPTIONS
    ]
    table = scorer.score(pairs)
    scores = table["dual_encoder"].to_numpy().reshape(3, 3)
    assert np.abs(scores).max() <= 100
    assert scores.argmax(1).tolist() == [0, 1, 2]


@pytest.mark.slow
def test_a_pair_scores_the_same_in_any_batch(scorer: DualEncoderScorer) -> None:
    pairs = [Pair(name, _photo(name), caption) for name, caption in CAPTIONS.items()]
    together = scorer.score(pairs, batch_size=3)["dual_encoder"].to_numpy()
    # Another one, which has encoded nothing yet.
    alone = (
        load_scorer("dual-encoder", device="cpu")
        .score(pairs, batch_size=1)["dual_encoder"]
        .to_numpy()
    )
    np.testing.assert_allclose(alone, together, atol=1e-3)


def test_a_bad_image_costs_its_row(scorer: DualEncoderScorer) -> None:
    good = Pair("good", _photo("chelsea"), "a cat")
    table = scorer.score([Pair("bad", b"no image", "a cat"), good])
    assert table["status"].to_pylist() == [Status.IMAGE_CORRUPT.value, Status.OK.value]
    assert table["dual_encoder"].to_pylist()[0] is None
