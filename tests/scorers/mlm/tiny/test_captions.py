"""Captions of a batch: padded, packed behind their image, grouped by it."""

from __future__ import annotations

import pytest

from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.captions import collate, pack, pad, share_images
from pairsift.scorers.mlm.tiny.inputs import CaptionTokens


def test_groups_of_an_image_are_powers_of_two_and_cover_all() -> None:
    image_of = [0] * 21 + [1] * 3 + [2]
    groups = share_images(image_of)
    assert {size: len(found) for size, found in groups.items()} == {16: 1, 4: 1, 1: 3, 2: 1}
    members = [position for found in groups.values() for group in found for position in group]
    assert sorted(members) == list(range(len(image_of)))
    for found in groups.values():
        for group in found:
            assert len({image_of[position] for position in group}) == 1


def tokens(*counts: int) -> list[CaptionTokens]:
    """Captions of so many tokens, each of its own numbers."""
    return [
        CaptionTokens([100 * number + place for place in range(1, count + 1)], [number + 1], False)
        for number, count in enumerate(counts)
    ]


def test_captions_are_padded_on_the_right() -> None:
    ids, mask = pad([[5, 6, 7], [], [8]])
    assert ids.shape == mask.shape == (3, 8)  # a multiple of 8
    assert ids[:, :3].tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert not ids[:, 3:].any()
    assert mask.sum(1).tolist() == [3, 0, 1]
    assert mask[:, 0].tolist() == [True, False, True]
    assert pad([[1] * 9])[0].shape == (1, 16)
    batch = collate(tokens(1, 2))
    assert batch.ids[:, :2].tolist() == [[1, 0], [101, 102]]
    assert batch.sentence_ids[:, 0].tolist() == [1, 2]
    assert batch[1:].ids[:, :2].tolist() == [[101, 102]]
    assert batch[[1, 0]].mask[:, :2].tolist() == [[True, True], [True, False]]


def test_captions_of_an_image_stand_one_after_the_other_each_with_its_queries() -> None:
    packed = pack([tokens(2, 1), tokens(1, 1)])
    metrics = len(METRICS)
    asked = list(range(metrics))
    end = 3 + 2 * metrics
    padding = -end % 8
    assert packed.ids[0, :end].tolist() == [1, 2, *[0] * metrics, 101, *[0] * metrics]
    assert packed.positions[0, :end].tolist() == [0, 1, *[2] * metrics, 0, *[1] * metrics]
    assert packed.query[0].tolist() == [-1, -1, *asked, -1, *asked, *[-1] * padding]
    first, second = [0] * metrics, [1] * metrics
    assert packed.segment[0].tolist() == [0, 0, *first, 1, *second, *[-1] * padding]
    # The second image has one token less.
    assert packed.segment[1].tolist() == [0, *first, 1, *second, *[-1] * (padding + 1)]
    assert packed.query[1].tolist()[-1] == -1


@pytest.mark.parametrize("most", [1, 2, 16])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 16, 37])
def test_no_group_is_larger_than_allowed(count: int, most: int) -> None:
    groups = share_images([5] * count, most)
    assert all(size <= most and size & (size - 1) == 0 for size in groups)
    assert sum(size * len(found) for size, found in groups.items()) == count
