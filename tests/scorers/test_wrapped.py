"""Scorers with further columns around each other: the inner scores, costs and order stay."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pairsift import Pair
from pairsift.images import ImageLimits
from pairsift.scorers.base import Columns, Preparer, Scorer
from pairsift.scorers.caption_index import CaptionIndexer
from pairsift.scorers.carrier import Carrier
from pairsift.scorers.hashes import HashMarker
from pairsift.scorers.marking import ScopeMarker
from pairsift.scorers.wrapped import WrappedPreparer, Wrapper
from tests.samples import jpeg

WRAPPERS: dict[str, Callable[[Scorer], Wrapper]] = {
    "index": CaptionIndexer,
    "hashes": HashMarker,
    "scope": lambda scorer: ScopeMarker(scorer, ["en"]),
    "carrier": lambda scorer: Carrier(scorer, ["domain:text"]),
}


def count_words(image: Image.Image, caption: str) -> int:
    return len(caption.split())


class Words(Scorer):
    """A caption's words; longer ones cost more and come first."""

    name: ClassVar[str] = "words"
    columns = (pa.field("words", pa.int32()),)
    batch_size = 3
    fingerprint: ClassVar[dict[str, str]] = {"scorer": "words"}  # type: ignore[assignment]

    def __init__(self) -> None:
        self.preparer = Preparer(count_words, ImageLimits())

    def score_batch(self, inputs: Sequence[int]) -> Columns:
        return {"words": np.array(inputs)}

    def cost(self, inputs: int) -> int:
        return 10 * inputs

    def order(self, inputs: Sequence[int]) -> list[int]:
        return sorted(range(len(inputs)), key=lambda place: -inputs[place])


PAIRS = [
    Pair(str(n), jpeg(20 + n, 16), "dog " * words, metadata={"domain": f"{n}.org"})
    for n, words in enumerate((2, 5, 1, 4))
]


@pytest.mark.parametrize("name", WRAPPERS)
def test_inner_scores_costs_and_order_stay(name: str) -> None:
    inner = Words()
    wrapper = WRAPPERS[name](inner)
    assert isinstance(wrapper, Wrapper)
    table, expected = wrapper.score(PAIRS), inner.score(PAIRS)
    assert table.select(expected.schema.names).equals(expected)
    assert len(table.schema) > len(expected.schema)
    inputs = wrapper.prepare_all(PAIRS)
    assert [wrapper.cost(each) for each in inputs] == [20, 50, 10, 40]
    assert wrapper.order(inputs) == [1, 3, 0, 2]
    assert (wrapper.batch_size, wrapper.novelty(inputs)) == (3, None)
    assert dict(inner.fingerprint).items() < dict(wrapper.fingerprint).items()


@pytest.mark.parametrize("name", WRAPPERS)
def test_limits_reach_the_inner_preparer_also_in_another_process(name: str) -> None:
    preparer = WRAPPERS[name](WRAPPERS["index"](Words())).preparer
    assert isinstance(preparer, WrappedPreparer)
    limited = pickle.loads(pickle.dumps(preparer.limited(ImageLimits(max_pixels=100))))
    assert type(limited) is type(preparer)
    assert preparer(PAIRS[0]).status.value == "ok"
    assert limited(PAIRS[0]).status.value == "image_too_large"
