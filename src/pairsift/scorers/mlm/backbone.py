"""The interface of models for one-pass scoring: read the prefix once, then continue from it."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicLayer

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.encode import Encode, Quirks
from pairsift.scorers.mlm.packing import Collated, Layout, build_blocks, collate
from pairsift.scorers.mlm.trie import Tree
from pairsift.scorers.transfer import pinned, to_device

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """One image after preprocessing.

    Attributes:
        arrays: inputs of the model's image encoder, kept small: uint8 pixels, normalised on the
            device.
        ids: (n,) token ids of this image in the prompt.
    """

    arrays: Arrays
    ids: np.ndarray


class ImageTransform(Protocol):
    """Preprocesses images. Picklable, so that it can run in worker processes."""

    def __call__(self, image: Any) -> ImageInputs:
        """Preprocess one RGB PIL image."""

    def describe(self) -> str:
        """Return everything that decides the pixels, for the fingerprint."""


class PrefixCache(Cache):  # type: ignore[misc]
    """Keys and values of a prefix. Once frozen, later tokens attend to them but are not added."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_PrefixLayer)

    def freeze(self) -> None:
        for layer in self.layers:
            layer.frozen = True


class _PrefixLayer(DynamicLayer):  # type: ignore[misc]
    frozen = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.frozen:
            super().update(key_states, value_states, *args, **kwargs)
            return self.keys, self.values
        return (
            torch.cat([self.keys, key_states], dim=-2),
            torch.cat([self.values, value_states], dim=-2),
        )


@dataclass
class State:
    """A batch of prefixes that the model has processed.

    Attributes:
        cache: keys and values, (B, heads, P, head size) per layer, padded on the right.
        lengths: (B,) tokens of each prefix.
        next_position: (B,) position of the token after it.
        last_hidden: (B, D) last hidden state of each prefix's last token, after the final norm.
    """

    cache: PrefixCache
    lengths: torch.Tensor
    next_position: torch.Tensor
    last_hidden: torch.Tensor


class Backbone(abc.ABC):
    """A multimodal language model with its tokenizer and its preprocessing.

    Attributes:
        way: how it reads a prompt's prefix, suffixes and answers; for the fingerprint.
        at_once: how many pairs it reads at once; None for as many as fit.
        kind: the checkpoint's model type, for people.
        tokenizer: of transformers.
        encode: turns prompt text into ids; the image's text becomes one ``image_marker``.
        image_transform: preprocesses images.
        image_token: text that stands for the image in a prompt.
        image_marker: the id that ``encode`` gives for it.
        chat: the chat format that the checkpoint was trained with.
        max_length: context length in tokens, image and answer included.
        vocabulary: number of logits.
        quirks: how the published code used this checkpoint; None if no code was published.
    """

    way: ClassVar[str] = "tree"
    at_once: ClassVar[int | None] = None
    kind: str
    tokenizer: Any
    encode: Encode
    image_transform: ImageTransform
    image_token: str
    image_marker: int
    chat: str = "tokenizer"
    max_length: int
    vocabulary: int
    quirks: Quirks | None = None

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """The model's device."""

    @property
    @abc.abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the model's computation."""

    def collate(self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray]) -> Any:
        """Make prefixes, in which the images' tokens stand, ready for :meth:`prefill`.

        It is called in another thread and runs nothing on the device.
        """
        return images, prefixes

    @abc.abstractmethod
    def prefill(self, collated: Any) -> Any:
        """Read the prefixes; the state is for :meth:`follow`."""

    @abc.abstractmethod
    def follow(
        self,
        state: Any,
        suffixes: Sequence[Sequence[np.ndarray]],
        trees: Sequence[Tree] | None,
        layout: Layout,
    ) -> Iterator[torch.Tensor]:
        """Read what stands behind the prefixes; the state stays as it is.

        Args:
            suffixes: per pair, the token ids of each metric's suffix.
            trees: per metric, the answers behind it; None to read the suffixes' ends only.

        Yields:
            (B, nodes, D) last hidden states, for :meth:`logits`; one metric's or several, whose
            nodes follow each other.
        """

    @abc.abstractmethod
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (N, vocabulary) float32 logits of (N, D) last hidden states."""

    def compile(self) -> None:
        """Have PyTorch compile the language model when it is first used.

        Raises:
            PairsiftError: the model is not read in a way for which that was tried.
        """
        raise PairsiftError(
            f"scorer option compile: this model ({self.kind}) is read in the way {self.way!r}, and "
            "only those of the way 'tree' are compiled; leave it out"
        )


@dataclass(frozen=True)
class Prefixes:
    """A batch of prefixes on the host, padded on the right.

    Attributes:
        images: what :meth:`EmbedsBackbone.stack` made of the images.
        ids: (B, P) int64, 0 where the images' tokens stand.
        marked: (B, P) bool, where they stand.
        positions: position ids, (B, P) or (axes, B, P).
        following: (B,) the positions after them.
        lengths: (B,) tokens of each prefix.
        together: (B, P) bool, see :meth:`EmbedsBackbone.seen_together`; None where nothing is.
    """

    images: Any
    ids: np.ndarray
    marked: np.ndarray
    positions: np.ndarray
    following: np.ndarray
    lengths: np.ndarray
    together: np.ndarray | None


@dataclass
class ImageFeatures:
    """Images as inputs of the language model.

    Attributes:
        tokens: (image tokens of all pairs, D), in the order of the pairs.
        extra: further arguments of the language model for the prefix.
    """

    tokens: torch.Tensor
    extra: Mapping[str, Any] = field(default_factory=dict)


class EmbedsBackbone(Backbone):
    """A decoder that takes embeddings, into which the image's features are inserted.

    Subclasses set the attributes of :class:`Backbone`, and implement :meth:`encode_images`.

    Attributes:
        feature_marker: the id of the image's tokens where its features go; None if it is
            ``image_marker``.
        windows: how far each kind of layer looks back, in tokens; None for all the way.

    Args:
        decoder: a transformers decoder without its head (``LlamaModel``, ``Qwen2Model``, ...):
            takes ``inputs_embeds``, ``attention_mask``, ``position_ids`` and a cache.
        head: maps hidden states to logits.
    """

    feature_marker: int | None = None

    def __init__(self, decoder: nn.Module, head: nn.Linear) -> None:
        self.decoder = decoder
        self.head = head
        self.windows = attention_windows(cast(Any, decoder).config)
        self._cache_name = cache_name(decoder)
        self.vocabulary = head.weight.shape[0]
        self.embed_tokens: nn.Embedding = cast(Any, decoder).get_input_embeddings()

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    def stack(self, images: Sequence[Arrays]) -> Any:
        """Make a batch of images ready for :meth:`encode_images`, pinned; on the host."""
        return images

    @abc.abstractmethod
    def encode_images(self, images: Any, is_image: torch.Tensor) -> ImageFeatures:
        """Encode a batch of images.

        Args:
            images: of :meth:`stack`.
            is_image: (B, P) bool, the positions of their tokens; prefixes are padded on the right.
        """

    def positions(
        self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the prefixes' position ids and, (B,), the positions after them.

        Position ids have the shape (B, P), or (axes, B, P) for models with several ids per token.
        """
        lengths = np.array([len(prefix) for prefix in prefixes])
        grid = np.broadcast_to(np.arange(lengths.max()), (len(prefixes), lengths.max()))
        return grid, lengths

    def seen_together(
        self, marked: np.ndarray, prefixes: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        """Return which tokens of the prefixes see each other in both directions, run by run.

        Args:
            marked: (B, P) bool, where the images' tokens stand.

        Returns:
            (B, P) bool; None where every token sees those before it only.
        """
        return None

    def collate(self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray]) -> Any:
        ids, marked = self._pad(prefixes)
        positions, following = self.positions(images, prefixes)
        lengths = np.array([len(prefix) for prefix in prefixes])
        together = self.seen_together(marked, prefixes)
        return Prefixes(self.stack(images), ids, marked, positions, following, lengths, together)

    def prefill(self, collated: Prefixes) -> State:
        """Encode the images and read the prefixes."""
        embeds, extra = self._embed(collated.images, collated.ids, collated.marked)
        cache = PrefixCache()
        # Padding stands on the right of a causal model: nothing before it can see it, so no mask
        # is needed, which leaves the device its fastest attention. extend() masks it out.
        if collated.together is not None:
            extra = {**extra, "attention_mask": self._masks_of_runs(collated.together)}
        hidden = self.decoder(
            inputs_embeds=embeds,
            position_ids=self.to_device(collated.positions),
            use_cache=True,
            **{self._cache_name: cache},
            **extra,
        ).last_hidden_state
        cache.freeze()
        lengths = self.to_device(collated.lengths)
        rows = torch.arange(len(lengths), device=self.device)
        return State(cache, lengths, self.to_device(collated.following), hidden[rows, lengths - 1])

    def follow(
        self,
        state: State,
        suffixes: Sequence[Sequence[np.ndarray]],
        trees: Sequence[Tree] | None,
        layout: Layout,
    ) -> Iterator[torch.Tensor]:
        laid_out = [build_blocks(of_pair, trees, layout) for of_pair in suffixes]
        for blocks in zip(*laid_out, strict=True):
            block = collate(blocks)
            hidden = self.extend(state, block)
            reads = self.to_device(block.reads)
            rows = torch.arange(len(blocks), device=hidden.device)
            yield hidden[rows[:, None], reads]

    def extend(self, state: State, block: Collated) -> torch.Tensor:
        """Read a block behind the prefixes; the state stays as it is.

        Returns:
            (B, S, D) last hidden states, after the final norm.
        """
        positions = state.next_position[:, None] + self.to_device(block.depth)
        size = state.cache.get_seq_length()
        mask = self._block_mask(state.lengths, size, block)
        places = state.lengths[:, None] + self.to_device(block.depth)
        before = torch.arange(size, device=self.device).expand(len(places), -1)
        hidden: torch.Tensor = self.decoder(
            inputs_embeds=self.embed_tokens(self.to_device(block.ids)),
            attention_mask=self._masks(mask, places, torch.cat([before, places], dim=1)),
            position_ids=self.text_positions(positions),
            use_cache=True,
            **{self._cache_name: state.cache},
        ).last_hidden_state
        return hidden

    def read(
        self, images: Sequence[Arrays], prefixes: Sequence[np.ndarray], block: Collated
    ) -> torch.Tensor:
        """Process prefixes and a block after them in one pass without a cache, for training.

        Tokens, positions and masks are those of :meth:`prefill` and :meth:`extend`, so the states
        are the same. Unlike there, activations may be recomputed in the backward pass.

        Returns:
            (B, S, D) last hidden states of the block, after the final norm.
        """
        ids, marked = self._pad(prefixes)
        size = ids.shape[1]
        ids = np.concatenate([ids, block.ids], axis=1)
        marked = np.concatenate([marked, np.zeros(block.ids.shape, dtype=bool)], axis=1)
        embeds, extra = self._embed(self.stack(images), ids, marked)
        positions, following = self.positions(images, prefixes)
        behind = self.text_positions(self.to_device(following[:, None] + block.depth))
        before = self.to_device(positions)
        lengths = self.to_device(np.array([len(prefix) for prefix in prefixes]))
        causal = torch.ones(size, ids.shape[1], dtype=torch.bool, device=self.device).tril()
        mask = torch.cat(
            [causal.expand(len(prefixes), -1, -1), self._block_mask(lengths, size, block)], dim=1
        )
        in_prefix = torch.arange(size, device=self.device).expand(len(prefixes), -1)
        places = torch.cat([in_prefix, lengths[:, None] + self.to_device(block.depth)], dim=1)
        hidden: torch.Tensor = self.decoder(
            inputs_embeds=embeds,
            attention_mask=self._masks(mask, places, places),
            position_ids=torch.cat([before, behind], dim=-1),
            use_cache=False,
            **extra,
        ).last_hidden_state
        return hidden[:, size:]

    def _pad(self, prefixes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Stack prefixes, padded on the right; return also the positions of the image's tokens."""
        ids = np.zeros((len(prefixes), max(map(len, prefixes))), dtype=np.int64)
        marked = np.zeros(ids.shape, dtype=bool)
        for row, prefix in enumerate(prefixes):
            here = prefix == (
                self.image_marker if self.feature_marker is None else self.feature_marker
            )
            ids[row, : len(prefix)] = np.where(
                here, 0, prefix
            )  # a marker may be outside the vocabulary
            marked[row, : len(prefix)] = here
        return ids, marked

    def _embed(
        self, images: Any, ids: np.ndarray, marked: np.ndarray
    ) -> tuple[torch.Tensor, Mapping[str, Any]]:
        """Embed (B, S) tokens with the images at their positions; return also further arguments."""
        is_image = self.to_device(marked)
        features = self.encode_images(images, is_image)
        embeds = self.embed_tokens(self.to_device(ids))
        if features.tokens.shape[0] != int(marked.sum()):
            raise ValueError(
                f"{features.tokens.shape[0]} image features for {int(marked.sum())} image tokens"
            )
        embeds = embeds.masked_scatter(is_image[..., None], features.tokens.to(embeds.dtype))
        return embeds, features.extra

    def _block_mask(self, lengths: torch.Tensor, size: int, block: Collated) -> torch.Tensor:
        """Return (B, S, size + S) bool: what the block's tokens attend to."""
        in_prefix = torch.arange(size, device=self.device) < lengths[:, None]
        batch, tokens = block.ids.shape
        return torch.cat(
            [
                in_prefix[:, None, :].expand(batch, tokens, -1),
                self.to_device(block.visible).expand(batch, tokens, tokens),
            ],
            dim=-1,
        )

    def _masks_of_runs(self, marked: np.ndarray) -> Any:
        """Masks of prefixes: causal, but that the tokens of a marked run see each other."""
        inside = self.to_device(marked)
        size = inside.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=self.device).tril()
        starts = inside & ~nn.functional.pad(inside, (1, 0))[:, :-1]
        run = starts.cumsum(1) * inside  # which run; 0 outside of any
        together = (run[:, :, None] == run[:, None, :]) & inside[:, :, None]
        places = torch.arange(size, device=self.device).expand(len(inside), -1)
        return self._masks(causal | together, places, places, together)

    def _masks(
        self,
        mask: torch.Tensor,
        asking: torch.Tensor,
        asked: torch.Tensor,
        near: torch.Tensor | None = None,
    ) -> Any:
        """Masks as the decoder wants them: one, or one for each kind of layer.

        Args:
            mask: (B, Q, K) bool, what may be seen.
            asking, asked: (B, Q) and (B, K) places in the text, of which windows count.
            near: (B, Q, K) bool, what is seen however far it is.
        """
        masks = {}
        for kind, window in self.windows.items():
            seen = mask
            if window is not None:
                inside = asking[:, :, None] - asked[:, None, :] < window
                seen = mask & (inside if near is None else inside | near)
            masks[kind] = self._bias(seen)
        return masks.get("", masks)

    def _bias(self, mask: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, Q, K), added to scores: the only mask for eager attention."""
        bias = torch.zeros(mask.shape, dtype=self.dtype, device=self.device)
        return bias.masked_fill_(~mask, torch.finfo(self.dtype).min)[:, None]

    def text_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the decoder's position ids of text tokens from (B, S) positions."""
        return positions

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return linear_float32(hidden, self.head)

    def compile(self) -> None:
        self.decoder.compile(dynamic=True)  # prompts have any length

    def pinned(self, array: np.ndarray) -> torch.Tensor:
        """Return an array in memory from which the model's device can copy by itself."""
        return pinned(array, self.device)

    def to_device(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Copy to the model's device, without waiting for the copy if possible."""
        return to_device(array, self.device)


def cache_name(model: nn.Module) -> str:
    """What a model of transformers calls its cache: another word from version 5.24 on."""
    arguments = inspect.signature(model.forward).parameters
    return "cache" if "cache" in arguments else "past_key_values"


def attention_windows(config: Any) -> dict[str, int | None]:
    """How far each kind of a decoder's layers looks back; by "" where all are of one kind."""
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if "sliding_attention" in kinds:
        return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}
    return {"": None if kinds else window}


def text_limit(config: Any, tokenizer: Any) -> int:
    """How many tokens fit into a model, by its text configuration and its tokenizer."""
    limits = [
        getattr(config, "max_position_embeddings", None),
        tokenizer.model_max_length,  # an astronomic number where the checkpoint names none
    ]
    return min(int(limit) for limit in limits if limit)


def linear_float32(hidden: torch.Tensor, head: nn.Linear) -> torch.Tensor:
    """Apply a linear layer and keep the sums in float32, whatever the layer's dtype.

    Rounding logits of about 20 to bfloat16 would change probabilities by several per cent.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _linear_float32(hidden, head)


def _linear_float32(hidden: torch.Tensor, head: nn.Linear) -> torch.Tensor:
    weight, bias = head.weight, head.bias
    if weight.dtype == torch.float32:
        return nn.functional.linear(hidden.float(), weight, bias)
    # PyTorch defines no derivative of this product.
    inference = not (torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad))
    if inference and hidden.is_cuda and _mm_keeps_float32(weight.dtype):
        out = torch.mm(hidden.to(weight.dtype), weight.t(), out_dtype=torch.float32)
    else:
        out = hidden.float() @ weight.float().t()
    return out if bias is None else out + bias.float()


_KEEPS_FLOAT32: dict[torch.dtype, bool] = {}


def _mm_keeps_float32(dtype: torch.dtype) -> bool:
    """Return whether CUDA matrices can be multiplied into float32 (PyTorch 2.8 on)."""
    if dtype not in _KEEPS_FLOAT32:
        tile = torch.ones(16, 16, dtype=dtype, device="cuda")
        try:
            torch.mm(tile, tile, out_dtype=torch.float32)
            _KEEPS_FLOAT32[dtype] = True
        except (TypeError, RuntimeError, NotImplementedError):
            _KEEPS_FLOAT32[dtype] = False
    return _KEEPS_FLOAT32[dtype]
