"""The parts that process text, in plain PyTorch: language model, sentence encoder, attention mask.

The two networks are Llama (Touvron et al. 2023), whose keys and values are shared by groups of
heads (Ainslie et al. 2023), and BERT (Devlin et al. 2019), without dropout. Their tensors have the
names that transformers gives them, so that published weights fit. Importing transformers would take
as much memory as all weights of the model.

Shapes: B sequences of L tokens, d the width of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.scorers.mlm.lite import draw
from pairsift.scorers.mlm.tiny.captions import Packed
from pairsift.scorers.mlm.tiny.config import TinyConfig

SENTENCE_POSITIONS = 512
_SENTENCE_EPSILON = 1e-12


class LanguageModel(nn.Module):
    """The first layers of a Llama; `forward` takes tokens that are embedded already."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.size, self.theta = config.width // config.heads, config.rope_theta
        self.embed_tokens = _embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(_LlamaLayer(config, self.size) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, config.norm_epsilon)
        self.apply(_draw)

    def forward(self, x: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return the last states (B, L, d) of embedded tokens (B, L, d).

        mask (B, 1, L, L) is true where a token, by row, attends to another; positions (B, L).
        """
        steps = torch.arange(0, self.size, 2, device=x.device).float() / self.size
        angles = (positions[:, None, :, None].float() / self.theta**steps).repeat(1, 1, 1, 2)
        turn = angles.cos(), angles.sin()
        for layer in self.layers:
            x = layer(x, mask, turn)
        states: Tensor = self.norm(x)
        return states


class _LlamaLayer(nn.Module):
    def __init__(self, config: TinyConfig, size: int) -> None:
        super().__init__()
        self.self_attn = _LlamaAttention(config, size)
        self.mlp = _LlamaFeedForward(config.width, config.feed_forward)
        self.input_layernorm = nn.RMSNorm(config.width, config.norm_epsilon)
        self.post_attention_layernorm = nn.RMSNorm(config.width, config.norm_epsilon)

    def forward(self, x: Tensor, mask: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), mask, turn)
        y: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return y


class _LlamaAttention(nn.Module):
    def __init__(self, config: TinyConfig, size: int) -> None:
        super().__init__()
        self.size = size
        shared = config.key_value_heads * size
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.k_proj = nn.Linear(config.width, shared, bias=False)
        self.v_proj = nn.Linear(config.width, shared, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, mask: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        query = _turned(_heads(self.q_proj(x), self.size), turn)
        key = _turned(_heads(self.k_proj(x), self.size), turn)
        value = _heads(self.v_proj(x), self.size)
        group = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(group, dim=1) for part in (key, value))
        y: Tensor = self.o_proj(_attend(query, key, value, mask))
        return y


class _LlamaFeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class SentenceEncoder(nn.Module):
    """A BERT without a pooling layer."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.embeddings = _BertEmbeddings(config.sentence_vocabulary, config.meaning)
        layers = (_BertLayer(config) for _ in range(config.sentence_layers))
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.apply(_draw)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last states (B, L, d) of token ids (B, L); mask (B, L), true for tokens."""
        x = self.embeddings(ids)
        # Every token attends to the real ones.
        seen = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)
        for layer in self.encoder["layer"].children():
            x = layer(x, seen)
        states: Tensor = x
        return states


class _BertEmbeddings(nn.Module):
    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = _embedding(vocabulary, width)
        self.position_embeddings = _embedding(SENTENCE_POSITIONS, width)
        self.token_type_embeddings = _embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, _SENTENCE_EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        # All tokens are of the first type, of two.
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        y: Tensor = self.LayerNorm(x + self.position_embeddings.weight[: ids.shape[1]])
        return y


class _BertLayer(nn.Module):
    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        width, inner = config.meaning, config.sentence_feed_forward
        self.attention = nn.ModuleDict(
            {
                "self": _BertAttention(width, width // config.sentence_heads),
                "output": _BertOutput(width, width),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _BertOutput(inner, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        y: Tensor = self.output(F.gelu(self.intermediate["dense"](x)), x)
        return y


class _BertAttention(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        layers = (self.query, self.key, self.value)
        query, key, value = (_heads(layer(x), self.size) for layer in layers)
        return _attend(query, key, value, mask)


class _BertOutput(nn.Module):
    """The linear layer at the end of a block, and the norm of its sum with the block's input."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, _SENTENCE_EPSILON)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        y: Tensor = self.LayerNorm(self.dense(x) + before)
        return y


def _heads(x: Tensor, size: int) -> Tensor:
    """Split (B, L, heads * size) into (B, heads, L, size)."""
    return x.view(*x.shape[:-1], -1, size).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attend with all heads (B, heads, L, size), and join them to (B, L, heads * size)."""
    return F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the pairs of a head's values by their positions' angles (Su et al. 2021)."""
    cosine, sine = turn
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


def _embedding(rows: int, width: int) -> nn.Embedding:
    """Make an embedding whose values are not drawn yet."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


def _draw(module: nn.Module) -> None:
    """Draw a layer's weights as the published networks did."""
    if isinstance(module, nn.Linear | nn.Embedding):
        draw(module.weight, 0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


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
