"""The multimodal scorer: all metrics of a pair in one pass, with scores from the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.metrics import DEFAULT_SCALE
from pairsift.pair import Pair
from pairsift.scorers.base import Columns, DeviceScorer, Preparer
from pairsift.scorers.memory import FittingBatches
from pairsift.scorers.mlm.backbone import Arrays, Backbone, ImageTransform
from pairsift.scorers.mlm.columns import metric_columns, score_columns
from pairsift.scorers.mlm.encode import PromptEncoder, Quirks
from pairsift.scorers.mlm.packing import Layout
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.scorers.mlm.sharing import (
    Group,
    each_alone,
    group_by_image,
    image_key,
    layout_of,
    order_by_key,
)
from pairsift.scorers.mlm.trie import Tree, answer_values, summarise
from pairsift.scorers.transfer import to_device, to_host

# The most logits computed at a time: 1 GiB of float32.
_LOGITS_AT_ONCE = 2**28

# Fixed, not measured at start, because a resumed run must add up in the same order. Looping is
# faster on CPUs (benchmarks/one_pass.py); with real batches it also fills a GPU, and it does not
# compute the attention between suffixes that packing masks out.
DEFAULT_LAYOUT: Layout = "looped"


@dataclass(frozen=True, slots=True)
class MLMInputs:
    """One preprocessed pair.

    Attributes:
        image: arrays for the model's image encoder.
        prefix: (P,) int64 token ids at the beginning of all prompts, the image's included.
        suffixes: per metric, (S,) int64 token ids.
        truncated: whether part of the caption was cut.
        image_key: the same for pairs of one image.
    """

    image: Arrays
    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    truncated: bool
    image_key: bytes


class MLMTransform:
    """Preprocess image and caption to :class:`MLMInputs`. Picklable."""

    def __init__(self, image_transform: ImageTransform, encoder: PromptEncoder) -> None:
        self.image_transform = image_transform
        self.encoder = encoder

    def __call__(self, image: Any, caption: str) -> MLMInputs:
        pixels = self.image_transform(image)
        prompts = self.encoder(caption, pixels.ids.tolist())
        return MLMInputs(
            pixels.arrays,
            prompts.prefix,
            prompts.suffixes,
            prompts.truncated,
            image_key(pixels.arrays),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Groups of equally many pairs, read at once, and what the model's `collate` made of them."""

    groups: Sequence[Group]
    collated: Any


class MLMScorer(DeviceScorer):
    """A multimodal language model asked the questions of a prompt pack.

    Args:
        backbone: the model.
        pack: the prompts.
        metrics: names, in canonical order.
        layout: whether the metrics' suffixes share a forward pass.
        quirks: use the model as the published code does; ``*_top`` is then the number that the
            published code prints, null if it prints none.
        fingerprint: what decides the scores besides prompts, metrics and quirks.
        limits: larger images get the status ``image_too_large``.
    """

    name: ClassVar[str] = "mlm"

    def __init__(
        self,
        backbone: Backbone,
        pack: PromptPack,
        metrics: Sequence[str],
        *,
        layout: Layout = DEFAULT_LAYOUT,
        quirks: Quirks | None = None,
        fingerprint: Mapping[str, str] | None = None,
        limits: ImageLimits | None = None,
    ) -> None:
        self.backbone = backbone
        self.pack = pack
        self.metrics = tuple(metrics)
        self.quirks = quirks
        self.encoder = PromptEncoder(
            pack,
            self.metrics,
            encode=backbone.encode,
            tokenizer=backbone.tokenizer,
            image_token=backbone.image_token,
            image_marker=backbone.image_marker,
            chat=backbone.chat,
            max_length=backbone.max_length,
            quirks=quirks,
        )
        self.tries = self.encoder.tries
        self._asked = [pack.metric(name) for name in self.metrics]
        scales = [metric.scale for metric in self._asked]
        if quirks is not None and any(scale != DEFAULT_SCALE for scale in scales):
            raise PairsiftError(
                "--reference-quirks reads whole numbers from 0 to 100 as the published code does; "
                f"prompt pack {pack.name!r} has other answers"
            )
        self.values = answer_values(scales)
        self.layout: Layout = layout
        self.columns = score_columns(pack.in_tables())
        self.preparer = Preparer(MLMTransform(backbone.image_transform, self.encoder), limits)
        self._fitting = FittingBatches()
        self._fingerprint = {
            "scorer": self.name,
            **(fingerprint or {}),
            "prompts": self.encoder.digest,
            "chat": self.encoder.chat,
            "preprocessing": backbone.image_transform.describe(),
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "metrics": ",".join(self.metrics),
            "reference_quirks": str(quirks is not None).lower(),
        }
        if backbone.way != "tree":  # left out there: scores of old score folders go on
            self._fingerprint["way"] = backbone.way

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    def cost(self, inputs: MLMInputs) -> int:
        """Return the length of the prefix in tokens; suffixes are equally long."""
        return len(inputs.prefix)

    def order(self, inputs: Sequence[MLMInputs]) -> list[int]:
        """Pairs of one image together, and otherwise those of like length."""
        return order_by_key([pair.image_key for pair in inputs], list(map(self.cost, inputs)))

    def collate(self, inputs: Sequence[MLMInputs]) -> Any:
        return self._fitting.collate(self._collate, inputs)

    def start(self, collated: Any) -> Callable[[], Columns]:
        truncated = np.array([pair.truncated for part, _ in collated for pair in part])
        fetch = self._start(collated)

        def columns() -> Columns:
            log_p, greedy = fetch()
            summary = summarise(log_p, self.values)
            found = {field.name: np.full(len(truncated), np.nan) for field in self.columns}
            found |= metric_columns(summary, self._asked)
            if self.quirks is not None:
                for index, metric in enumerate(self.metrics):
                    found[f"{metric}_top"] = greedy[:, index]
            return found | {"caption_truncated": truncated}

        return columns

    def distributions(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, answers) float64 probabilities of each metric's answers.

        Answers are in the order of their values; metrics with fewer of them than others are padded
        with 0 on the right.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        log_p, _ = self._start(self.collate(self.prepare_all(pairs)))()
        p = np.exp(log_p.astype(np.float64) - log_p.max(-1, keepdims=True))
        return np.asarray(p / p.sum(-1, keepdims=True))

    def answer_logits(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, vocabulary) float32 next-token logits right after each prompt.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        return self._fitting.run(self._answer_logits, self.prepare_all(pairs))

    @torch.inference_mode()
    def answers(self, pair: Pair, max_tokens: int = 160) -> list[str]:
        """Generate the model's answers about one pair by greedy decoding, metric by metric.

        Scoring reads only the number; a model that was trained to do so gives its reasons after it.

        Args:
            max_tokens: answers that do not end by themselves are truncated here.

        Raises:
            PairsiftError: the pair cannot be scored; the error names its key.
        """
        [inputs] = self.prepare_all([pair])
        [part] = self._parts(each_alone([inputs]))
        state = self.backbone.prefill(part.collated)
        tokenizer = self.backbone.tokenizer
        texts = []
        for suffix in inputs.suffixes:
            written: list[int] = []
            while len(written) < max_tokens:
                # The state keeps the prefix alone, so each step reads suffix and answer again.
                said = np.append(suffix, written).astype(np.int64)
                [last] = self.backbone.follow(state, [[said]], None, "looped")
                token = int(self.backbone.logits(last[0]).argmax())
                if token == tokenizer.eos_token_id:
                    break
                written.append(token)
            texts.append(tokenizer.decode(written, skip_special_tokens=True).strip())
        return texts

    def _collate(self, inputs: Sequence[MLMInputs]) -> list[_Part]:
        return [part for alike in group_by_image(inputs).values() for part in self._parts(alike)]

    def _parts(self, groups: Sequence[Group]) -> Iterator[_Part]:
        """As many groups at a time as the model reads at once."""
        step = self.backbone.at_once or len(groups)
        for start in range(0, len(groups), step):
            some = groups[start : start + step]
            images, prefixes = [group.image for group in some], [group.prefix for group in some]
            yield _Part(some, self.backbone.collate(images, prefixes))

    def _read(
        self, part: _Part, trees: Sequence[Tree] | None, layout: Layout
    ) -> Iterator[torch.Tensor]:
        """Yield (groups, nodes of one or more suffixes, D) last hidden states."""
        suffixes = [group.suffixes for group in part.groups]
        state = self.backbone.prefill(part.collated)
        yield from self.backbone.follow(state, suffixes, trees, layout)

    @torch.inference_mode()
    def _answer_logits(self, inputs: Sequence[MLMInputs]) -> np.ndarray:
        read = [
            torch.cat(list(self._read(part, None, self.layout)), dim=1)
            for part in self._parts(each_alone(inputs))
        ]
        hidden = torch.cat(read)
        logits = self.backbone.logits(hidden.flatten(0, 1))
        return logits.cpu().numpy().reshape(*hidden.shape[:2], -1)

    def _start(self, collated: Any) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
        """Begin to read a batch of :meth:`collate`.

        The function returned gives log P of the answers, (B, metrics, answers), and greedy scores,
        (B, metrics).
        """
        fetches = self._fitting.start(self._start_parts, collated, self._collate)

        def fetch() -> tuple[np.ndarray, np.ndarray]:
            answers, best = zip(*(fetch() for fetch in fetches), strict=True)
            log_p = np.concatenate(answers)
            if not np.isfinite(log_p).all():
                raise FloatingPointError("the model's logits are not finite")
            if self.quirks is None:
                return log_p, np.full(log_p.shape[:2], np.nan)
            return log_p, self._greedy(np.concatenate(best), self.quirks.new_tokens)

        return fetch

    @torch.inference_mode()
    def _start_parts(self, parts: Sequence[_Part]) -> Callable[[], list[np.ndarray]]:
        """As :meth:`_start`, for what fits at once, with the likeliest tokens of all nodes."""
        rows = [row for part in parts for group in part.groups for row in group.rows]
        read = [self._read_part(part) for part in parts]
        fetch = to_host([torch.cat(found) for found in zip(*read, strict=True)])
        return lambda: [found[np.argsort(rows)] for found in fetch()]

    def _read_part(self, part: _Part) -> tuple[torch.Tensor, torch.Tensor]:
        """(pairs, metrics, answers) log P and (pairs, metrics, nodes) likeliest tokens."""
        pairs = len(part.groups[0].rows)
        nodes = sum(trie.nodes for trie in self.tries)
        layout = layout_of(part.groups, nodes, self.layout)
        read = [
            self._read_nodes(hidden)
            for hidden in self._read(part, self.tries.trees * pairs, layout)
        ]
        log_p, best = (torch.cat(parts, dim=1) for parts in zip(*read, strict=True))
        log_p = log_p.reshape(len(part.groups) * pairs, nodes, -1)
        answers = self.tries.log_probabilities(log_p)
        if self.quirks is None:
            return answers, best.new_empty(*answers.shape[:2], 0)
        return answers, best.reshape(*answers.shape[:2], -1)

    def _read_nodes(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log probabilities of the tries' columns, and the likeliest token of all.

        Args:
            hidden: (..., D).

        Returns:
            (..., columns) float32 and (...) int64; the latter is zero if it is not needed.
        """
        columns = to_device(np.array(self.tries.columns), hidden.device)
        log_p, best = [], []
        at_once = max(1, _LOGITS_AT_ONCE // self.backbone.vocabulary)
        for rows in torch.split(hidden.flatten(0, -2), at_once):
            logits = self.backbone.logits(rows)
            log_p.append(logits[:, columns] - logits.logsumexp(-1, keepdim=True))
            wanted = self.quirks is not None
            best.append(logits.argmax(-1) if wanted else columns.new_zeros(len(rows)))
        shape = hidden.shape[:-1]
        return torch.cat(log_p).reshape(*shape, -1), torch.cat(best).reshape(shape)

    def _greedy(self, best: np.ndarray, new_tokens: int) -> np.ndarray:
        """Return the number that greedy decoding prints; NaN if its first line is not a number.

        Args:
            best: (B, metrics, nodes) likeliest next token at each node of the trie, which is the
                same for all metrics.
        """
        after = {
            path[0]: node for node, path in enumerate(self.tries[0].beginnings) if len(path) == 1
        }
        scores = np.full(best.shape[:2], np.nan)
        for index in np.ndindex(scores.shape):
            tokens = [int(best[index][0])]
            if new_tokens > 1 and tokens[0] in after:
                tokens.append(int(best[index][after[tokens[0]]]))
            text = self.backbone.tokenizer.decode(tokens, skip_special_tokens=True)
            line = text.split("\n")[0].strip(",").strip()
            if line.isdecimal() and line.isascii():
                scores[index] = int(line)
        return scores
