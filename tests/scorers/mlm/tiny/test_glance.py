"""The first half of the filter as a scorer of its own, with the model of the whole."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pairsift import Pair  # noqa: E402
from pairsift.embeddings import IMAGE, TEXT  # noqa: E402
from pairsift.scorers.mlm.tiny.glance import load_tiny_glance  # noqa: E402
from pairsift.scorers.mlm.tiny.scorer import TinyScorer, load_tiny_scorer  # noqa: E402
from tests.samples import jpeg  # noqa: E402

PAIRS = [Pair(str(n), jpeg(60, 40, n), text) for n, text in enumerate(["a red box", "two dogs"])]


@pytest.fixture(scope="module")
def tiny() -> TinyScorer:
    return load_tiny_scorer()


def test_beside_the_whole_filter_its_model_is_shared(tiny: TinyScorer) -> None:
    assert load_tiny_glance(beside=tiny).tiny is tiny


def test_images_and_captions_are_encoded_once_for_both(
    tiny: TinyScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = tiny.images.encode

    def counting(pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(tiny.images, "encode", counting)
    tiny.images.clear()
    load_tiny_glance(beside=tiny).score(PAIRS)
    tiny.score(PAIRS)
    assert sum(encoded) == 2


def test_the_estimate_is_a_score_and_embeddings_do_not_change_it(tiny: TinyScorer) -> None:
    plain = load_tiny_glance(beside=tiny).score(PAIRS)
    glance = load_tiny_glance(beside=tiny, embeddings=True)
    table = glance.score(PAIRS)
    assert table["glance"].equals(plain["glance"])
    assert all(0 <= value <= 100 for value in table["glance"].to_pylist())
    for name in (IMAGE, TEXT):
        vectors = np.array(table[name].to_pylist())
        assert vectors.shape == (2, tiny.model.config.meaning)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=2e-3)


def test_the_fingerprint_is_of_this_scorer_and_of_the_shared_model(tiny: TinyScorer) -> None:
    plain = load_tiny_glance(beside=tiny).fingerprint
    assert plain["scorer"] == "tiny-glance"
    assert "metrics" not in plain
    assert plain["checkpoint"] == tiny.fingerprint["checkpoint"]
    assert "embeddings" in load_tiny_glance(beside=tiny, embeddings=True).fingerprint
