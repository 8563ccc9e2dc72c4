"""Tokenize on the CPU: one caption becomes the token ids of all its prompts.

Each metric's prompt is encoded as a whole, so the ids are the same as if the model were asked only
about that metric. The common beginning of the prompts is the prefix, which is computed once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import DEFAULT_SCALE
from pairsift.scorers.mlm.chat import render_chat
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.scorers.mlm.trie import AnswerTries, common_prefix, metric_trie

# Stands for the caption while templates are rendered. Captions never contain NUL (captions.py).
_SLOT = "\0caption\0"

#: Prompt text to token ids. It contains the image's text once, which becomes the marker id.
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How the published inference code differs from correct use (``reference_quirks``).

    Attributes:
        chat: the chat format that it chooses.
        tail: token ids that it appends to the prompt; the prompt pack's own tail is not used.
        max_length: prompts are truncated to this many ids on the right, with the image as one id,
            before the tail is added. With a long caption, the instruction and the assistant's turn
            are lost.
        new_tokens: how many tokens it generates and reads a score from.
    """

    chat: str
    tail: tuple[int, ...]
    max_length: int
    new_tokens: int = 2


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """Token ids of one pair's prompts.

    Attributes:
        prefix: (P,) int64, the common beginning of all prompts, including the image's tokens.
        suffixes: per metric, (S,) int64, the rest; never empty.
        truncated: whether the caption was truncated.
    """

    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    truncated: bool


class TokenizerEncode:
    """:data:`Encode` of a tokenizer that knows the image's text as one special token.

    A start token such as ``<s>`` is added if the tokenizer would do so and the text does not begin
    with it; no end token is added. Picklable.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        with_special = tokenizer("a", add_special_tokens=True)["input_ids"]
        bos = tokenizer.bos_token_id
        self.bos = bos if bos is not None and with_special[:1] == [bos] else None

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if self.bos is not None and ids[:1] != [self.bos]:
            ids = [self.bos, *ids]
        return ids


class PromptEncoder:
    """Encodes a caption as token ids for all metrics. Picklable, so that it can run in worker
    processes.

    ``scales`` and ``tries`` hold each metric's answers, and how this tokenizer spells them.

    Args:
        pack: the texts.
        metrics: which prompts to build, in order.
        encode: turns text into ids.
        tokenizer: for its chat template and its special tokens.
        image_token: text that stands for the image.
        image_marker: the id that ``encode`` gives for it.
        chat: the format to use if the pack says ``auto``.
        max_length: context length of the model in tokens, image and answer included. Longer
            captions are truncated at their end, never the instruction.
        quirks: encode as the published inference code does instead.

    Raises:
        PairsiftError: the pack does not fit the model.
    """

    def __init__(
        self,
        pack: PromptPack,
        metrics: Sequence[str],
        *,
        encode: Encode,
        tokenizer: Any,
        image_token: str,
        image_marker: int,
        chat: str,
        max_length: int,
        quirks: Quirks | None = None,
    ) -> None:
        self.encode = encode
        self.image_marker = image_marker
        self.max_length = max_length
        self.quirks = quirks
        if pack.chat != "auto":
            chat = pack.chat
        elif quirks is not None:
            chat = quirks.chat
        self.chat = chat
        self._hostile = _special_text(tokenizer, image_token)
        self._frames = [
            _split_at_caption(
                render_chat(
                    chat,
                    pack.user_turn(metric, _SLOT),
                    image_token=image_token,
                    tokenizer=tokenizer,
                )
            )
            for metric in metrics
        ]
        self._tail = pack.answer_tail
        asked = [pack.metric(name) for name in metrics]
        self.scales = [metric.scale for metric in asked]
        unknown = getattr(tokenizer, "unk_token_id", None)
        self.tries = AnswerTries(
            metric_trie(encode, self._text(index, "a") + self._tail, metric, unknown)
            for index, metric in enumerate(asked)
        )
        # Joining an answer to the prompt may change the prompt's last tokens (" 50" as one token),
        # so a prompt is what is left of "prompt + answer" without the answer's own tokens. Any
        # answer will do; this is 50 of 0 to 100.
        self._samples = [
            (metric.scale.answers[middle].spellings[0], trie.paths[middle][0])
            for metric, trie in zip(asked, self.tries, strict=True)
            for middle in [len(trie.paths) // 2]
        ]
        for index in range(len(self._frames)):
            if self._ids(index, "a").count(image_marker) != 1:
                raise PairsiftError(
                    f"{image_token} is not one token of this checkpoint's tokenizer; "
                    "are its tokenizer files those of the model?"
                )

    def __call__(self, caption: str, image_ids: Sequence[int]) -> EncodedPrompts:
        """Encode the prompts of one pair.

        Args:
            image_ids: the ids that stand for this image in the model's input.

        Raises:
            PairsiftError: image and instruction alone are longer than ``max_length``.
        """
        caption = self.defuse(caption)
        room = self.max_length - len(image_ids) + 1 - max(trie.depth for trie in self.tries)
        prompts, truncated = self._all_ids(caption, room)
        shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
        if self.image_marker not in prompts[0][:shared]:
            raise PairsiftError("the image must come before the criteria in the prompt")
        at = prompts[0].index(self.image_marker)
        prefix = [*prompts[0][:at], *image_ids, *prompts[0][at + 1 : shared]]
        return EncodedPrompts(
            np.array(prefix, dtype=np.int64),
            tuple(np.array(prompt[shared:], dtype=np.int64) for prompt in prompts),
            truncated,
        )

    @property
    def digest(self) -> str:
        """sha256 of prompts and answers as the model gets them, but for the caption; 64 digits."""
        said: tuple[Any, ...] = (self._frames, self._tail, self.quirks)
        if any(scale != DEFAULT_SCALE for scale in self.scales):
            said += ([scale.to_json() for scale in self.scales],)
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def prompt_ids(self, caption: str, metric: int) -> list[int]:
        """Return the ids of one metric's prompt, with the image's marker, untruncated."""
        return self._ids(metric, self.defuse(caption))

    def answer_ids(self, answer: str, metric: int = 0) -> list[int]:
        """Return the ids of a text that the model writes right after a prompt.

        Raises:
            PairsiftError: the answer's beginning would change the tokens of the prompt.
        """
        prompt = self._ids(metric, "a")
        full = self.encode(f"{self._text(metric, 'a')}{self._tail}{self.defuse(answer)}")
        if full[: len(prompt)] != prompt:
            raise PairsiftError(f"the tokenizer merges the answer {answer[:20]!r} with the prompt")
        return full[len(prompt) :]

    def _all_ids(self, caption: str, room: int) -> tuple[list[list[int]], bool]:
        if self.quirks is not None:
            full = [self._plain_ids(index, caption) for index in range(len(self._frames))]
            cut = [ids[: self.quirks.max_length] for ids in full]
            prompts = [[*ids, *self.quirks.tail] for ids in cut]
            if max(map(len, prompts)) > room:
                raise PairsiftError(
                    "the prompt does not fit into the model, even if truncated as in the published "
                    "code"
                )
            return prompts, cut != full
        # A long caption is not encoded as a whole, because a million characters take a second.
        if len(caption) <= 4 * max(room, 1):
            prompts = [self._ids(index, caption) for index in range(len(self._frames))]
            if max(map(len, prompts)) <= room:
                return prompts, False
        return self._cut(caption, room), True

    def _cut(self, caption: str, room: int) -> list[list[int]]:
        """Encode with the longest beginning of the caption that fits."""

        def fitting(length: int) -> list[list[int]] | None:
            prompts = [self._ids(index, caption[:length]) for index in range(len(self._frames))]
            return prompts if max(map(len, prompts)) <= room else None

        best = fitting(0)
        if best is None:
            raise PairsiftError(
                f"image and instruction take more than the {self.max_length:,} tokens of the model"
            )
        fits, too_long = 0, 1
        while too_long < len(caption) and (prompts := fitting(too_long)) is not None:
            best, fits, too_long = prompts, too_long, 2 * too_long
        too_long = min(too_long, len(caption) + 1)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if (prompts := fitting(middle)) is not None:
                best, fits = prompts, middle
            else:
                too_long = middle
        return best

    def _text(self, index: int, caption: str) -> str:
        before, after = self._frames[index]
        return f"{before}{caption}{after}"

    def _plain_ids(self, index: int, caption: str) -> list[int]:
        return self.encode(self._text(index, caption))

    def _ids(self, index: int, caption: str) -> list[int]:
        answer, path = self._samples[index]
        ids = self.encode(f"{self._text(index, caption)}{self._tail}{answer}")
        if tuple(ids[-len(path) :]) != path:
            raise PairsiftError(
                f"the tokenizer spells {answer!r} differently after different prompts"
            )
        return ids[: -len(path)]

    def defuse(self, caption: str) -> str:
        """Split text that the tokenizer would take for a control token."""
        return self._hostile.sub(lambda match: f"{match[0][0]} {match[0][1:]}", caption)


def _split_at_caption(prompt: str) -> tuple[str, str]:
    before, slot, after = prompt.partition(_SLOT)
    if not slot or _SLOT in after:
        raise PairsiftError("the chat template changes the user's text")
    return before, after


def _special_text(tokenizer: Any, image_token: str) -> re.Pattern[str]:
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {*tokenizer.all_special_tokens, image_token}
    longest_first = sorted((text for text in special if len(text) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))
