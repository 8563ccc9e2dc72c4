"""Both networks are those of transformers; and which tokens see which, behind an image."""

from __future__ import annotations

import pytest
import torch

from pairsift.scorers.mlm.tiny.captions import pack
from pairsift.scorers.mlm.tiny.config import TinyConfig
from pairsift.scorers.mlm.tiny.inputs import CaptionTokens
from pairsift.scorers.mlm.tiny.language import (
    SENTENCE_POSITIONS,
    LanguageModel,
    SentenceEncoder,
    block_mask,
)

transformers = pytest.importorskip("transformers")

SMALL = TinyConfig(
    layers=3,
    width=48,
    heads=6,
    key_value_heads=2,
    feed_forward=80,
    vocabulary=60,
    meaning=32,
    sentence_layers=2,
    sentence_heads=4,
    sentence_feed_forward=64,
    sentence_vocabulary=50,
)


def shake(model: torch.nn.Module) -> None:
    """Make every tensor matter: norms start as ones and biases as zeros."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn(tensor.shape) * 0.1)


def test_language_model() -> None:
    theirs = transformers.LlamaModel(
        transformers.LlamaConfig(
            vocab_size=SMALL.vocabulary,
            hidden_size=SMALL.width,
            intermediate_size=SMALL.feed_forward,
            num_hidden_layers=SMALL.layers,
            num_attention_heads=SMALL.heads,
            num_key_value_heads=SMALL.key_value_heads,
            rope_theta=SMALL.rope_theta,
            rms_norm_eps=SMALL.norm_epsilon,
        )
    ).eval()
    shake(theirs)
    ours = LanguageModel(SMALL)
    ours.load_state_dict(theirs.state_dict())
    packed = pack([[CaptionTokens(ids, [], False)] for ids in ([3, 4, 5], [6, 7, 8, 9, 10])])
    x = torch.cat([torch.randn(2, 4, SMALL.width), ours.embed_tokens(packed.ids)], 1)
    mask = block_mask(4, packed)
    positions = torch.cat([torch.arange(4).expand(2, 4), packed.positions + 40], 1)
    with torch.inference_mode():
        expected = theirs(
            inputs_embeds=x, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        torch.testing.assert_close(ours(x, mask, positions), expected, rtol=1e-4, atol=1e-5)


def test_sentence_encoder() -> None:
    theirs = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=SMALL.sentence_vocabulary,
            hidden_size=SMALL.meaning,
            num_hidden_layers=SMALL.sentence_layers,
            num_attention_heads=SMALL.sentence_heads,
            intermediate_size=SMALL.sentence_feed_forward,
            max_position_embeddings=SENTENCE_POSITIONS,
        ),
        add_pooling_layer=False,
    ).eval()
    shake(theirs)
    ours = SentenceEncoder(SMALL)
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, SMALL.sentence_vocabulary, (3, 9))
    mask = torch.arange(9) < torch.tensor([[9], [5], [2]])
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        found = ours(ids, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


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
    assert len(padding) >= 4
    assert mask[padding].sum(1).tolist() == [1] * len(padding)
    assert mask[:, padding].sum(0).tolist() == [1] * len(padding)
