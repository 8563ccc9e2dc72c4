"""`pairsift-tiny` as a scorer: an image is encoded once, whoever shares it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pairsift import Pair, load_scorer
from pairsift.demo.photos import PHOTOS
from pairsift.errors import PairsiftError
from pairsift.scorers import heap
from pairsift.scorers.mlm.tiny.encoded import KEPT, EncodedImages
from pairsift.scorers.mlm.tiny.scorer import CPU_BATCH, DTYPES, GIVE_BACK, TinyScorer
from pairsift.scorers.placement import check_bfloat16

CAPTIONS = (
    "a dog",
    "Two people sit on a bench beside the lake and look at the mountains behind it .",
    "IMG_2231.jpg",
    "a red car parked in front of a white house",
    "free shipping on all orders over 50 dollars",
)

SHIPPED = (
    (7.6, 6.9, 75.4, 10.7),
    (7.0, 12.0, 92.3, 17.7),
    (9.0, 7.9, 10.0, 13.0),
    (7.0, 17.7, 91.3, 20.0),
    (10.0, 11.5, 41.1, 17.9),
)
"""What 0.11.1 gives `CAPTIONS` with the first of the pictures below: itm, odf, ctq, su."""


@pytest.fixture(scope="module")
def scorer() -> TinyScorer:
    scorer = load_scorer("pairsift-tiny", device="cpu")
    assert isinstance(scorer, TinyScorer)
    return scorer


def _photo(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((80, 60), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def test_shipped_weights_are_read_as_they_were_measured(scorer: TinyScorer) -> None:
    assert scorer.fingerprint["scorer_version"] == "0.11.1"
    table = scorer.score([Pair(str(n), _photo(0), text) for n, text in enumerate(CAPTIONS)])
    scores = np.stack([table[metric].to_numpy() for metric in ("itm", "odf", "ctq", "su")], 1)
    np.testing.assert_allclose(scores, SHIPPED, atol=0.2)


@pytest.mark.slow
def test_bfloat16_agrees_with_float32_on_photographs() -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    try:
        check_bfloat16(torch.device("cpu"))
    except PairsiftError as error:
        pytest.skip(str(error))
    pairs = [
        Pair(f"{photo.name}-{number}", photo.read(), caption)
        for place, photo in enumerate(PHOTOS)
        for number, caption in enumerate((photo.right, PHOTOS[place - 1].right, photo.vague))
    ]
    for name, column, apart in (
        ("pairsift-tiny", "itm", 0.5),
        ("pairsift-tiny", "ctq", 0.5),
        ("tiny-glance", "glance", 0.5),
        ("dual-encoder", "dual_encoder", 0.1),
    ):
        scorers = [load_scorer(name, device="cpu", dtype=kind) for kind in DTYPES]
        assert [scorer.fingerprint["dtype"] for scorer in scorers] == list(DTYPES)
        exact, quick = (scorer.score(pairs)[column].to_numpy() for scorer in scorers)
        difference = np.abs(exact - quick)
        assert difference.any()
        assert np.quantile(difference, 0.95) < apart
        assert np.corrcoef(exact.argsort().argsort(), quick.argsort().argsort())[0, 1] > 0.995


@pytest.mark.slow
def test_images_that_are_no_photographs_are_marked() -> None:
    skimage_data = pytest.importorskip("skimage.data")
    stream = io.BytesIO()
    Image.fromarray(skimage_data.astronaut()).save(stream, "PNG")
    images = (stream.getvalue(), _photo(0), b"no image")
    pairs = [Pair(str(n), image, "a woman in a space suit") for n, image in enumerate(images)]
    for name in ("pairsift-tiny", "tiny-glance"):
        marked = load_scorer(name, device="cpu", mark_out_of_scope=True)
        table = marked.score(pairs)
        assert table["out_of_scope"].to_pylist() == [None, "image", None]
        novelty = table["image_novelty"].to_pylist()
        assert novelty[0] < 0.2 < 0.9 < novelty[1] <= 1
        assert novelty[2] is None


@pytest.mark.slow
def test_captions_of_one_image_score_as_they_do_alone(scorer: TinyScorer) -> None:
    pairs = [
        Pair(f"{image}-{number}", _photo(image), caption)
        for number, caption in enumerate(CAPTIONS)
        for image in range(3)
        if not (image == 2 and number > 1)  # 5, 5 and 2 captions
    ]
    together = scorer.distributions(pairs)
    for index, pair in enumerate(pairs):
        scorer.images.clear()
        np.testing.assert_allclose(scorer.distributions([pair])[0], together[index], atol=1e-5)


def test_each_image_is_encoded_once(scorer: TinyScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = scorer.images.encode

    def counting(pixels):  # type: ignore[no-untyped-def]
        encoded.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(scorer.images, "encode", counting)
    scorer.images.clear()
    scorer.score([Pair(str(n), _photo(n % 2), CAPTIONS[n % 5]) for n in range(8)], batch_size=4)
    scorer.score([Pair("again", _photo(1), "a cat")])
    assert sum(encoded) == 2


@pytest.mark.slow
def test_each_caption_is_embedded_once(scorer: TinyScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = []
    encode = scorer.captions.encode

    def counting(ids, mask):  # type: ignore[no-untyped-def]
        embedded.append(len(ids))
        return encode(ids, mask)

    monkeypatch.setattr(scorer.captions, "encode", counting)
    scorer.captions.clear()
    pairs = [Pair(str(n), _photo(n % 2), CAPTIONS[n % 3]) for n in range(8)]
    again = scorer.score(pairs, batch_size=4)["itm"].to_numpy()
    assert sum(embedded) == 3
    for pair, score in zip(pairs[:3], again, strict=False):
        scorer.captions.clear()
        assert scorer.score([pair])["itm"].to_pylist() == pytest.approx([score], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairsift-tiny", "tiny-glance", "dual-encoder"])
def test_a_cpu_takes_small_batches_and_gives_freed_memory_back(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = load_scorer(name, device="cpu")  # one that has not counted pairs yet
    assert scorer.batch_size == CPU_BATCH
    given: list[int] = []
    monkeypatch.setattr(heap, "_trim", given.append)
    pairs = [Pair(str(n), _photo(0), "a dog") for n in range(2 * GIVE_BACK)]
    scorer.score(pairs, batch_size=GIVE_BACK // 2)
    assert len(given) == 2


def test_the_last_images_are_kept() -> None:
    seen: list[int] = []

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        seen.extend(pixels[:, 0, 0, 0].tolist())
        return pixels[:, 0, 0].float()

    images = EncodedImages(encode, torch.device("cpu"), batch_size=7)
    images.step = 5
    kept = 7 * KEPT
    most = kept - 6
    pictures = [np.full((2, 2, 3), n, np.uint8) for n in range(most)]
    encoded, image_of = images([*pictures, pictures[3]])
    assert encoded[:, 0].tolist() == list(range(most))
    assert image_of == [*range(most), 3]
    assert images([pictures[3]])[0][0, 0] == 3
    assert len(seen) == most
    images([np.full((3, 3, 3), n, np.uint8) for n in range(kept - 10)])
    assert len(images) == kept
    images([pictures[3]])  # used last of the first ones, so still there
    assert len(seen) == most + kept - 10
    images([np.full((4, 4, 3), n, np.uint8) for n in range(kept + 2)])
    assert len(images) == kept + 2  # all of a large batch
