"""Any image-text-to-text model of transformers, by its own forward pass and its own processor.

Three ways, the quickest that holds: *cache* reads the prefix once, and suffix and answers behind
copies of the model's own cache; *prompt* does so with each metric's whole prompt, for models that
must read it at once; *whole* reads prompt and answer together, once for every answer.
"""

from __future__ import annotations

import abc
import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pairsift.scorers.mlm.backbone import Arrays, Backbone, cache_name, linear_float32, text_limit
from pairsift.scorers.mlm.families.processor import (
    CLOSING_IDS,
    IMAGE_IDS,
    PER_TOKEN,
    ProcessorEncode,
    ProcessorTransform,
    find_ids,
    spread,
    to_tensors,
)
from pairsift.scorers.mlm.packing import NO_TREE, Layout
from pairsift.scorers.mlm.trie import Tree


class Paths:
    """A trie's nodes as rows of tokens: each row ends at a node that no other one hangs on.

    Attributes:
        rows: token ids behind the prompt.
        nodes: per node, its row and how many of the row's tokens come before it.
        longest: the most tokens in a row.
    """

    def __init__(self, tree: Tree) -> None:
        tokens, parents = tree
        beginnings: list[tuple[int, ...]] = [()]
        for token, parent in zip(tokens, parents, strict=True):
            beginnings.append((*beginnings[parent], token))
        ends = [node for node in range(len(beginnings)) if node not in set(parents)]
        self.rows = [np.array(beginnings[node], dtype=np.int64) for node in ends]
        self.nodes = []
        for beginning in beginnings:
            row = next(
                r for r, end in enumerate(ends) if beginnings[end][: len(beginning)] == beginning
            )
            self.nodes.append((row, len(beginning)))
        self.longest = max(map(len, self.rows))


@dataclass(frozen=True)
class Prompt:
    """One pair before the metrics part: its image and what all prompts begin with.

    Attributes:
        image: model arguments made by the processor.
        prefix: (P,) token ids.
        cache: what the model keeps of the prefix; None if nothing was read yet.
    """

    image: Arrays
    prefix: np.ndarray
    cache: Any = None

    def with_suffix(self, suffix: np.ndarray) -> np.ndarray:
        """All ids of a metric's prompt, with those that the processor puts behind it."""
        return np.concatenate([self.prefix, suffix, self.image[CLOSING_IDS]])


class GenericBackbone(Backbone):
    """A model asked through its own ``forward``, one pair at a time.

    Pairs in a batch would need padding, which every type takes in another way. Some models also
    remember where the last image was in their own attributes.

    Args:
        model: the model, on its device, in evaluation mode.
        processor: the checkpoint's processor.
        tokenizer: its tokenizer.
        encode: what stands for the image in its prompts.
    """

    at_once = 1

    def __init__(self, model: Any, processor: Any, tokenizer: Any, encode: ProcessorEncode) -> None:
        self.parts = (model, processor, tokenizer, encode)
        self.model: nn.Module = model
        self.config = model.config
        self.kind = self.config.model_type
        self.tokenizer = tokenizer
        self.encode = encode
        self.image_token = encode.image_token
        self.image_marker = encode.marker
        self.image_transform = ProcessorTransform(processor, encode)
        text = self.config.get_text_config(decoder=True)
        self.max_length = text_limit(text, tokenizer)
        self.vocabulary = int(text.vocab_size)
        self._arguments = inspect.signature(model.forward).parameters
        # PaliGemma reads prompts in both directions, and what is of this type in one.
        self._of_answers = {f"{PER_TOKEN}token_type_ids": 1} if self.kind == "paligemma" else {}
        self._takes_any = any(p.kind is p.VAR_KEYWORD for p in self._arguments.values())
        self._cache_name = cache_name(model)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.float()  # the model's own forward ends with them

    def prefill(self, collated: Any) -> list[Prompt]:
        return [self.begin(Prompt(image, prefix)) for image, prefix in zip(*collated, strict=True)]

    def follow(
        self,
        state: Any,
        suffixes: Sequence[Sequence[np.ndarray]],
        trees: Sequence[Tree] | None,
        layout: Layout,
    ) -> Iterator[torch.Tensor]:
        for index, tree in enumerate(trees or [NO_TREE] * len(suffixes[0])):
            paths = Paths(tree)
            yield torch.stack(
                [
                    self._answer(prompt, suffix[index], paths)
                    for prompt, suffix in zip(state, suffixes, strict=True)
                ]
            )

    def begin(self, prompt: Prompt) -> Prompt:
        """Read what all answers of a prompt begin with, where a cache can keep it."""
        return prompt

    @abc.abstractmethod
    def _answer(self, prompt: Prompt, suffix: np.ndarray, paths: Paths) -> torch.Tensor:
        """Return (nodes, vocabulary) logits behind one prompt."""

    def _forward(
        self, ids: np.ndarray, last: int, *, beside: Mapping[str, Any], **options: Any
    ) -> tuple[torch.Tensor, Any]:
        """Run the model; return the logits at the ``last`` positions, and the cache."""
        arguments = {"input_ids": torch.from_numpy(ids).to(self.device), **beside, **options}
        if "logits_to_keep" in self._arguments:
            arguments["logits_to_keep"] = last
        if not self._takes_any:
            arguments = {n: v for n, v in arguments.items() if n in self._arguments}
        output = self.model(**arguments)
        return output.logits[:, -last:], getattr(output, self._cache_name, None)

    def _beside(
        self, prompt: Prompt, ids: np.ndarray, start: int = 0, answer: int = 0
    ) -> dict[str, Any]:
        """Arguments beside the ids from ``start`` on: the image, and what is kept for each token.

        The image is given only with the first of the ids.

        Args:
            answer: how many of the ids are an answer.
        """
        beside: dict[str, Any] = {}
        if start == 0:  # behind a cache, some take its length for that of the new ids
            beside["attention_mask"] = torch.ones(1, len(ids), dtype=torch.long, device=self.device)
        at = max(find_ids(ids, prompt.image[IMAGE_IDS]), 0)
        for name, value in prompt.image.items():
            if name.startswith(PER_TOKEN):
                values = spread(value, len(ids), at)
                if name in self._of_answers:
                    values[len(ids) - answer :] = self._of_answers[name]
                values = values[None, start:]
                beside[name.removeprefix(PER_TOKEN)] = to_tensors(values, self.device, self.dtype)
            elif name not in (IMAGE_IDS, CLOSING_IDS) and start == 0:
                beside[name] = to_tensors(value, self.device, self.dtype)
        return beside


class WholeBackbone(GenericBackbone):
    """Prompt and answer read together, once for every answer: slow, and right for any model."""

    way = "whole"

    def _answer(self, prompt: Prompt, suffix: np.ndarray, paths: Paths) -> torch.Tensor:
        question = prompt.with_suffix(suffix)
        rows = [self._row(prompt, question, path) for path in paths.rows]
        return torch.stack([rows[row][place] for row, place in paths.nodes])

    def _row(self, prompt: Prompt, question: np.ndarray, path: np.ndarray) -> torch.Tensor:
        """(1 + path, vocabulary) logits, at the prompt's end and at each of the answer's tokens."""
        if self.config.is_encoder_decoder:
            beside = self._beside(prompt, question)
            start = self._decoder_start()
            written = torch.tensor([[start, *path]], device=self.device)
            logits, _ = self._forward(
                question[None], len(path) + 1, beside=beside, decoder_input_ids=written
            )
            return logits[0]
        ids = np.concatenate([question, path])
        beside = self._beside(prompt, ids, answer=len(path))
        return self._forward(ids[None], len(path) + 1, beside=beside, use_cache=False)[0][0]

    def _decoder_start(self) -> int:
        for config in (self.model.generation_config, self.config, self.config.get_text_config()):
            start = getattr(config, "decoder_start_token_id", None)
            if start is not None:
                return int(start)
        return int(self.config.get_text_config(decoder=True).bos_token_id)


class PromptBackbone(GenericBackbone):
    """Each metric's prompt read once, its answers behind copies of the model's own cache."""

    way = "prompt"

    def _answer(self, prompt: Prompt, suffix: np.ndarray, paths: Paths) -> torch.Tensor:
        ids = prompt.with_suffix(suffix)
        beside = self._beside(prompt, ids)
        logits, cache = self._forward(ids[None], 1, beside=beside, use_cache=True)
        return self._continue(prompt, ids, logits[:, -1], cache, paths)

    def _continue(
        self, prompt: Prompt, ids: np.ndarray, first: torch.Tensor, cache: Any, paths: Paths
    ) -> torch.Tensor:
        """Read the answers' beginnings behind ``ids``, all at once."""
        if not paths.longest:
            return first
        rows = np.zeros((len(paths.rows), paths.longest), dtype=np.int64)
        for row, path in enumerate(paths.rows):
            rows[row, : len(path)] = path  # what stands behind a path is read by nothing
        cache.reorder_cache(torch.zeros(len(rows), dtype=torch.long, device=self.device))
        whole = np.concatenate([ids, rows[0]])
        beside = {
            name: value.expand(len(rows), *value.shape[1:])
            for name, value in self._beside(
                prompt, whole, start=len(ids), answer=paths.longest
            ).items()
        }
        logits, _ = self._forward(
            rows, paths.longest, beside=beside, use_cache=True, **{self._cache_name: cache}
        )
        return torch.stack(
            [first[0] if place == 0 else logits[row, place - 1] for row, place in paths.nodes]
        )


class CacheBackbone(PromptBackbone):
    """The prefix read once; suffixes and answers behind copies of the model's own cache."""

    way = "cache"

    def begin(self, prompt: Prompt) -> Prompt:
        beside = self._beside(prompt, prompt.prefix)
        _, cache = self._forward(prompt.prefix[None], 1, beside=beside, use_cache=True)
        return Prompt(prompt.image, prompt.prefix, cache)

    def _answer(self, prompt: Prompt, suffix: np.ndarray, paths: Paths) -> torch.Tensor:
        ids = prompt.with_suffix(suffix)
        cache = copy.deepcopy(prompt.cache)
        beside = self._beside(prompt, ids, start=len(prompt.prefix))
        logits, cache = self._forward(
            ids[None, len(prompt.prefix) :],
            1,
            beside=beside,
            use_cache=True,
            **{self._cache_name: cache},
        )
        return self._continue(prompt, ids, logits[:, -1], cache, paths)


def keep_float32(model: Any) -> None:
    """Have a model compute logits in float32, and what its forward does with them."""
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear):
        head.register_forward_hook(lambda layer, given, _: linear_float32(given[0], layer))


#: by name, the quickest first
GENERIC: dict[str, type[GenericBackbone]] = {
    way.way: way for way in (CacheBackbone, PromptBackbone, WholeBackbone)
}
