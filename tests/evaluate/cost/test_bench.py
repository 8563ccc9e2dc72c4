"""One scorer, timed in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.bench import Bench
from pairsift.evaluate.cost.subjects import NamedScorer
from pairsift.pair import Pair
from tests.samples import CAPTION, good_samples, jpeg, write_tar


@pytest.fixture
def shard(tmp_path: Path) -> str:
    return str(write_tar(tmp_path / "00000.tar", good_samples(9)))


@pytest.mark.slow
def test_captions_of_one_image_cost_less_than_their_number(shard: str) -> None:
    bench = Bench(NamedScorer("dual-encoder", {"device": "cpu"}), 1, None)
    images = [jpeg(seed=seed) for seed in range(3)]
    apart = [Pair(str(n), images[n], f"{CAPTION} {n}") for n in range(2)]
    shared = [Pair(str(n), images[2], f"{CAPTION} {n}") for n in range(2)]
    two_images, no_image, one_image = map(bench.warm_up, (apart, apart, shared))
    assert no_image < two_images / 2  # which is why no round repeats an image
    assert one_image == pytest.approx((two_images + no_image) / 2, rel=0.01)


@pytest.mark.slow
def test_a_pair_that_cannot_be_scored_stops_the_timing() -> None:
    bench = Bench(NamedScorer("heuristics"), 1, None)
    with pytest.raises(PairsiftError, match="heuristics cannot score bad: image_corrupt"):
        bench.time([Pair("bad", b"no image", CAPTION)])
