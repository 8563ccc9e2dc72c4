"""Preprocess training examples as the scorer does, and add their targets."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsift.captions import check_caption
from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.metrics import Scale
from pairsift.pair import Fault, Pair, Status
from pairsift.scorers.base import Prepared
from pairsift.scorers.mlm.backbone import Arrays, ImageTransform
from pairsift.scorers.mlm.chat import render_chat
from pairsift.scorers.mlm.encode import PromptEncoder
from pairsift.scorers.mlm.packing import Block, Collated, build_blocks, pad
from pairsift.scorers.mlm.trie import Tree
from pairsift.train.examples import Example, Exchange, Source, TrainingData
from pairsift.train.labels import soft_labels

# Encoded images in memory while they are checked.
_AT_ONCE = 256

MAX_ANSWER = 192
"""Longer answers are truncated, in tokens; a rationale of two sentences has about sixty."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image and everything that is learned after one prefix.

    Attributes:
        image: arrays for the model's image encoder.
        prefix: (P,) int64 token ids.
        suffixes: (S,) int64 token ids of the rest of each prompt.
        answers: token ids to be generated after each suffix; None if distributions are learned.
        scores: the teacher's scores, shape (suffixes,), in points of their scales; NaN where there
            is none.
        metrics: the metric that each suffix asks for; -1 for none.
        group: rows of a batch with the same number have captions of the same image.
    """

    image: Arrays
    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    answers: tuple[np.ndarray, ...] | None
    scores: np.ndarray
    metrics: np.ndarray
    group: int


class RowMaker:
    """Makes rows from examples. Picklable, so that it can run in worker processes.

    Args:
        preparer: preprocesses pairs for the scorer.
        encoder: the scorer's prompts.
        metrics: the encoder's metrics, in its order.
        end: id of the token that ends an answer.
        user_prompt: turns a user's instruction into the model's prompt, up to the answer.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        preparer: Callable[[Pair], Prepared],
        image_transform: ImageTransform,
        encoder: PromptEncoder,
        metrics: Sequence[str],
        objective: str,
        end: int,
        user_prompt: UserPrompt,
    ) -> None:
        self.sources = sources
        self.preparer = preparer
        self.image_transform = image_transform
        self.encoder = encoder
        self.metrics = tuple(metrics)
        self.scales = encoder.scales
        self.objective = objective
        self.end = end
        self.user_prompt = user_prompt

    def pair(self, example: Example) -> Pair:
        """Return the example as the scorer takes it."""
        image = self.sources[example.place].read(example.image)
        return Pair(key=example.image, image=image, caption=example.caption)

    def annotated(self, example: Example, group: int = 0) -> Row:
        """Make the row of an annotated caption: one target for each metric that has a score.

        Raises:
            PairsiftError: it cannot be scored; the error names it.
        """
        prepared = self.preparer(self.pair(example))
        if prepared.status is not Status.OK:
            raise PairsiftError(f"{example.image}: {prepared.status.value}: {prepared.error}")
        inputs = prepared.inputs
        asked = [index for index, name in enumerate(self.metrics) if name in example.scores]
        suffixes = tuple(inputs.suffixes[index] for index in asked)
        scores = np.array(
            [self.scales[index].points(example.scores[self.metrics[index]]) for index in asked]
        )
        answers = None
        if self.objective == "words":
            used = len(inputs.prefix) + max(map(len, suffixes))
            room = min(MAX_ANSWER, self.encoder.max_length - used)
            answers = tuple(self._words(example, index)[:room] for index in asked)
        return Row(inputs.image, inputs.prefix, suffixes, answers, scores, np.array(asked), group)

    def _words(self, example: Example, index: int) -> np.ndarray:
        metric = self.metrics[index]
        answer = self.scales[index].nearest(example.scores[metric])
        text = self.scales[index].answers[answer].spellings[0]
        why = example.why.get(metric)
        ids = self.encoder.answer_ids(f"{text}\n{why}" if why else text, index)
        path = self.encoder.tries[index].paths[answer][0]
        if tuple(ids[: len(path)]) != path:
            raise PairsiftError(
                f"the tokenizer splits {text!r} differently before a rationale; train with "
                "--objective distribution"
            )
        return np.array([*ids, self.end], dtype=np.int64)

    def exchange(self, exchange: Exchange) -> Row | None:
        """Make the row of a general instruction; None if it does not fit into the model's context.

        Raises:
            PairsiftError: its image cannot be decoded.
        """
        content = self.sources[exchange.place].read(exchange.image)
        try:
            image, _ = decode_image(content, ImageLimits())
        except ImageFaultError as fault:
            raise PairsiftError(f"{exchange.image}: {fault.status.value}: {fault}") from None
        pixels = self.image_transform(image)
        prompt, answer = self.user_prompt(exchange.question, exchange.answer, self.encoder)
        at = prompt.index(self.encoder.image_marker)
        ids = np.array([*prompt[:at], *pixels.ids, *prompt[at + 1 :]], dtype=np.int64)
        room = min(MAX_ANSWER, self.encoder.max_length - len(ids))
        if room < 2:
            return None
        written = np.array([*answer, self.end], dtype=np.int64)[:room]
        none = np.array([np.nan]), np.array([-1])
        return Row(pixels.arrays, ids[:-1], (ids[-1:],), (written,), *none, -1)


class UserPrompt:
    """Formats a general instruction with the model's chat template. Picklable."""

    def __init__(self, chat: str, image_token: str, tokenizer: Any) -> None:
        self.chat, self.image_token, self.tokenizer = chat, image_token, tokenizer

    def __call__(
        self, question: str, answer: str, encoder: PromptEncoder
    ) -> tuple[list[int], list[int]]:
        """Return the token ids of the prompt, with the image as its marker, and of the answer.

        Raises:
            PairsiftError: the prompt does not contain exactly one image.
        """
        text = render_chat(
            self.chat,
            encoder.defuse(question),
            image_token=self.image_token,
            tokenizer=self.tokenizer,
        )
        prompt = encoder.encode(text)
        space = "" if text[-1:].isspace() else " "
        full = encoder.encode(f"{text}{space}{encoder.defuse(answer)}")
        # A token that spans prompt and answer belongs to the answer.
        shared = 0
        while shared < len(prompt) and prompt[shared] == full[shared]:
            shared += 1
        if full[:shared].count(encoder.image_marker) != 1:
            raise PairsiftError(
                "the prompt of an instruction does not contain its image exactly once"
            )
        return full[:shared], full[shared:]


class TrainingItems:
    """All training items by number, like a `torch.utils.data.Dataset`.

    An item is an annotated caption, several captions of one image if they are ranked, or a general
    instruction.

    Args:
        ranked: how many captions of an image make an item, at most.
    """

    def __init__(
        self,
        maker: RowMaker,
        examples: Sequence[Example],
        exchanges: Sequence[Exchange],
        ranked: int = 1,
    ) -> None:
        self.maker = maker
        self.groups = _groups(examples, ranked)
        self.exchanges = list(exchanges)

    def __len__(self) -> int:
        return len(self.groups) + len(self.exchanges)

    def __getitem__(self, index: int) -> list[Row]:
        if index < len(self.groups):
            return [self.maker.annotated(example, index) for example in self.groups[index]]
        row = self.maker.exchange(self.exchanges[index - len(self.groups)])
        return [] if row is None else [row]


def _groups(examples: Sequence[Example], most: int) -> list[list[Example]]:
    if most == 1:
        return [[example] for example in examples]
    by_image: defaultdict[tuple[int, str], list[Example]] = defaultdict(list)
    for example in examples:
        by_image[example.place, example.image].append(example)
    return [
        group[start : start + most]
        for group in by_image.values()
        for start in range(0, len(group), most)
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a batch that are computed in one forward pass.

    Attributes:
        images, prefixes: those of the rows.
        block: what follows the prefixes; its ``reads`` are not used.
        row: (nodes, or tokens) the row of each position whose logits are needed.
        at: the positions in the block: all nodes of one target after those of another, or tokens.
    """

    images: list[Arrays]
    prefixes: list[np.ndarray]
    block: Collated
    row: np.ndarray
    at: np.ndarray


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows, ready for the model.

    Attributes:
        scored: rows whose score distributions are learned; None if there are none.
        labels: (targets, answers) float32.
        scores, metrics, groups: (targets,); scores in points.
        worded: rows whose answers are learned token by token.
        written: (tokens,) the correct token at each position.
        weights: (tokens,) float32; those of an answer sum to 1.
        targets: number of distributions and answers together.
    """

    scored: Part | None
    labels: np.ndarray
    scores: np.ndarray
    metrics: np.ndarray
    groups: np.ndarray
    worded: Part | None
    written: np.ndarray
    weights: np.ndarray
    targets: int


class Collator:
    """Turns rows into a batch. Picklable.

    Args:
        trees: per metric, its answers in the form that :mod:`~pairsift.scorers.mlm.packing` uses.
        scales: per metric, its answers.
        label_std: see :func:`~pairsift.train.labels.soft_labels`.
    """

    def __init__(self, trees: Sequence[Tree], scales: Sequence[Scale], label_std: float) -> None:
        self.trees = trees
        self.points = [np.array([*map(scale.points, scale.values)]) for scale in scales]
        self.label_std = label_std

    def __call__(self, items: Sequence[Sequence[Row]]) -> Mapping[str, Batch]:
        rows = [row for item in items for row in item]
        scored = [row for row in rows if row.answers is None]
        worded = [row for row in rows if row.answers is not None]
        scores = _joined([row.scores for row in scored], np.float64)
        metrics = _joined([row.metrics for row in scored], np.int64)
        part, written, weights, answers = self._worded(worded)
        batch = Batch(
            scored=self._scored(scored),
            labels=self._labels(scores, metrics),
            scores=scores,
            metrics=metrics,
            groups=_joined([np.full(len(row.scores), row.group) for row in scored], np.int64),
            worded=part,
            written=written,
            weights=weights,
            targets=len(scores) + answers,
        )
        return {"batch": batch}

    def _scored(self, rows: Sequence[Row]) -> Part | None:
        if not rows:
            return None
        blocks = [
            build_blocks(row.suffixes, [self.trees[m] for m in row.metrics], "packed")[0]
            for row in rows
        ]
        reads = [block.shape.reads for block in blocks]
        return _part(rows, blocks, np.concatenate(reads), [len(read) for read in reads])

    def _labels(self, scores: np.ndarray, metrics: np.ndarray) -> np.ndarray:
        """(targets, answers), padded with 0 as the distributions are with nothing."""
        labels = np.zeros((len(scores), max(map(len, self.points))), np.float32)
        for metric in np.unique(metrics).tolist():
            mine, answers = metrics == metric, self.points[metric]
            labels[mine, : len(answers)] = soft_labels(scores[mine], self.label_std, answers)
        return labels

    def _worded(self, rows: Sequence[Row]) -> tuple[Part | None, np.ndarray, np.ndarray, int]:
        blocks, at, written, weights, counts = [], [], [], [], []
        for row in rows:
            answers = row.answers or ()
            # The last token of an answer is predicted, never an input.
            texts = [
                np.concatenate([suffix, answer[:-1]])
                for suffix, answer in zip(row.suffixes, answers, strict=True)
            ]
            blocks.append(build_blocks(texts, layout="packed")[0])
            start = 0
            for text, answer in zip(texts, answers, strict=True):
                end = start + len(text)
                at.append(np.arange(end - len(answer), end))
                written.append(answer)
                weights.append(np.full(len(answer), 1 / len(answer), dtype=np.float32))
                start = end
            counts.append(sum(map(len, answers)))
        part = _part(rows, blocks, _joined(at, np.int64), counts) if rows else None
        return part, _joined(written, np.int64), _joined(weights, np.float32), len(written)


def _part(
    rows: Sequence[Row], blocks: Sequence[Block], at: np.ndarray, counts: Sequence[int]
) -> Part:
    return Part(
        [row.image for row in rows],
        [row.prefix for row in rows],
        pad(blocks, at),
        np.repeat(np.arange(len(rows)), counts),
        at,
    )


def _joined(arrays: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype)


def usable(data: TrainingData, limits: ImageLimits | None = None) -> TrainingData:
    """Leave out examples and instructions that the scorer would refuse, and count the reasons.

    Every image is decoded here once, so that a broken image cannot end the run after hours.
    """
    images = [(example.place, example.image) for example in data.examples]
    images += [(exchange.place, exchange.image) for exchange in data.exchanges]
    faults = _image_faults(data, list(dict.fromkeys(images)), limits or ImageLimits())
    kept = TrainingData(data.sources, [], [], dict(data.left_out), data.digests)
    for example in data.examples:
        caption = check_caption(example.caption)
        reason = caption.status.value if isinstance(caption, Fault) else None
        reason = reason or faults[example.place, example.image]
        if reason is None:
            kept.examples.append(example)
        else:
            kept.leave_out(reason)
    for exchange in data.exchanges:
        reason = faults[exchange.place, exchange.image]
        if reason is None:
            kept.exchanges.append(exchange)
        else:
            kept.leave_out(reason)
    return kept


def _image_faults(
    data: TrainingData, images: Sequence[tuple[int, str]], limits: ImageLimits
) -> dict[tuple[int, str], str | None]:
    """Return why each image cannot be decoded; None if it can."""

    def fault(content: bytes) -> str | None:
        try:
            decode_image(content, limits)
        except ImageFaultError as error:
            return error.status.value
        return None

    found: dict[tuple[int, str], str | None] = {}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(images), _AT_ONCE):
            chunk = images[start : start + _AT_ONCE]
            contents = [data.sources[place].read(name) for place, name in chunk]
            found.update(zip(chunk, threads.map(fault, contents), strict=True))
    return found
