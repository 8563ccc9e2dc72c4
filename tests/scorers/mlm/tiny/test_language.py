"""Which tokens see which, where captions stand behind their image."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pairsift.scorers.mlm.tiny.captions import pack  # noqa: E402
from pairsift.scorers.mlm.tiny.inputs import CaptionTokens  # noqa: E402
from pairsift.scorers.mlm.tiny.language import block_mask  # noqa: E402

IMAGE = 3


def test_a_token_sees_its_image_and_the_words_of_its_own_caption_before_it() -> None:
    captions = [CaptionTokens([7] * count, [1], False) for count in (2, 3)]
    packed = pack([captions, captions[:1] * 2])
    mask = block_mask(IMAGE, packed)
    assert mask.shape == (2, 1, IMAGE + packed.ids.shape[1], IMAGE + packed.ids.shape[1])
    for row in range(2):
        segment, query = packed.segment[row].tolist(), packed.query[row].tolist()
        for one in range(mask.shape[2]):
            for other in range(mask.shape[3]):
                a, b = one - IMAGE, other - IMAGE
                if a < 0:
                    expected = other <= one  # the image does not see the words
                elif b < 0:
                    expected = segment[a] >= 0
                elif a == b:
                    expected = True
                else:
                    expected = segment[a] == segment[b] >= 0 and b < a and query[b] < 0
                assert bool(mask[row, 0, one, other]) is expected, (row, one, other)


def test_padding_sees_itself_only() -> None:
    packed = pack([[CaptionTokens([7] * 5, [1], False)], [CaptionTokens([7], [1], False)]])
    mask = block_mask(IMAGE, packed)[1, 0]
    padding = (packed.segment[1] < 0).nonzero().flatten() + IMAGE
    assert len(padding) == 4
    assert mask[padding].sum(1).tolist() == [1] * 4
    assert mask[:, padding].sum(0).tolist() == [1] * 4
