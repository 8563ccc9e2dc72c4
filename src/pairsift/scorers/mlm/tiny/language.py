"""The parts that process text: language model, sentence encoder, and the attention mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pairsift.scorers.mlm.tiny.captions import Packed
from pairsift.scorers.mlm.tiny.config import TinyConfig

if TYPE_CHECKING:
    from transformers import BertModel, LlamaModel


def language_model(config: TinyConfig) -> LlamaModel:
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            rope_theta=config.rope_theta,
            rms_norm_eps=config.norm_epsilon,
            max_position_embeddings=2048,
            attn_implementation="sdpa",
        )
    )


def sentence_encoder(config: TinyConfig) -> BertModel:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=config.sentence_vocabulary,
            hidden_size=config.meaning,
            num_hidden_layers=config.sentence_layers,
            num_attention_heads=config.sentence_heads,
            intermediate_size=config.sentence_feed_forward,
            attn_implementation="sdpa",
        ),
        add_pooling_layer=False,
    )


def block_mask(count: int, packed: Packed) -> Tensor:
    """Return (B, 1, L, L) bool, true where attention is allowed, L = count + P.

    Image tokens are causal among themselves. A text token attends to the image and to earlier text
    of its own caption; a query attends to these and itself. Padding attends to itself only, to stay
    finite.
    """
    segment, is_query = packed.segment, packed.query >= 0
    batch, length = segment.shape
    order = torch.arange(length, device=segment.device)
    same = (segment[:, :, None] == segment[:, None, :]) & (segment >= 0)[:, :, None]
    text = same & (order[:, None] >= order) & ~is_query[:, None, :]
    text = text | torch.eye(length, dtype=torch.bool, device=segment.device)
    mask = torch.zeros(
        batch, count + length, count + length, dtype=torch.bool, device=segment.device
    )
    ones = torch.ones(count, count, dtype=torch.bool, device=segment.device)
    mask[:, :count, :count] = ones.tril()
    mask[:, count:, :count] = (segment >= 0)[:, :, None]
    mask[:, count:, count:] = text
    return mask[:, None]
