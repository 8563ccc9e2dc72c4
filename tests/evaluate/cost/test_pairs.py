"""The pairs of the rounds: real, the same for all, and never an image twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pairsift.captions import check_caption
from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.pairs import Rounds, demo_rounds, digest, shard_rounds
from pairsift.images import ImageLimits, decode_image
from pairsift.scorers.mlm.tiny.preprocess import preprocess
from tests.samples import CAPTION, good_samples, jpeg, write_tar


def _pixels(rounds: Rounds) -> list[str]:
    """Digests of what the embedded filter sees, by which it would know an image again."""
    images = [decode_image(pair.image, ImageLimits())[0] for each in rounds for pair in each]
    return [hashlib.sha256(preprocess(image).tobytes()).hexdigest() for image in images]


@pytest.mark.slow
def test_no_round_shows_an_image_that_a_scorer_could_remember() -> None:
    pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")
    pytest.importorskip("sklearn", reason="the demo's photographs come with scikit-learn")
    rounds = demo_rounds(3, 14)
    assert [len(each) for each in rounds] == [14] * 3
    assert len(set(_pixels(rounds))) == 3 * 14
    captions = [[pair.caption for pair in each] for each in rounds]
    assert captions[0] == captions[1] == captions[2]
    assert digest(rounds) == digest(demo_rounds(3, 14)) != digest(demo_rounds(2, 14))


def test_captions_share_an_image_within_their_round() -> None:
    pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")
    pytest.importorskip("sklearn", reason="the demo's photographs come with scikit-learn")
    rounds = demo_rounds(2, 7, captions_per_image=3)
    for each in rounds:
        assert len(each) == 7
        assert [pair.image == each[0].image for pair in each] == [True] * 3 + [False] * 4
        assert len({(pair.image, pair.caption) for pair in each}) == 7
    assert not {pair.image for pair in rounds[0]} & {pair.image for pair in rounds[1]}


def test_shards_give_good_pairs_with_different_images(tmp_path: Path) -> None:
    samples = good_samples(5)
    samples |= {
        "same-image": {"jpg": jpeg(seed=0), "txt": "again"},
        "no-caption": {"jpg": jpeg(seed=7), "txt": " "},
        "no-image": {"jpg": b"not a picture", "txt": CAPTION},
        "last": {"jpg": jpeg(seed=9), "txt": CAPTION},
    }
    shard = str(write_tar(tmp_path / "00000.tar", samples))
    rounds = shard_rounds([shard], rounds=3, pairs=2)
    keys = [[pair.key for pair in each] for each in rounds]
    assert keys == [
        ["good0000-0", "good0001-0"],
        ["good0002-0", "good0003-0"],
        ["good0004-0", "last-0"],
    ]
    assert all(check_caption(pair.caption) for each in rounds for pair in each)
    with pytest.raises(PairsiftError, match=r"8 good pairs .* there are 6"):
        shard_rounds([shard], rounds=4, pairs=2)
