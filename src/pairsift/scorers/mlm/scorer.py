"""The multimodal scorer: all metrics of a pair in one pass, with scores from the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from pairsift.images import ImageLimits
from pairsift.pair import Pair
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.memory import FittingBatches
from pairsift.scorers.mlm.backbone import Arrays, Backbone, ImageTransform, State
from pairsift.scorers.mlm.columns import metric_columns, score_columns
from pairsift.scorers.mlm.encode import PromptEncoder, Quirks
from pairsift.scorers.mlm.packing import NO_TREE, Layout, Tree, build_blocks, collate
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.scorers.mlm.trie import summarise

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
        truncated: whether the caption was truncated.
    """

    image: Arrays
    prefix: np.ndarray
    suffixes: tuple[np.ndarray, ...]
    truncated: bool


class MLMTransform:
    """Preprocess image and caption to :class:`MLMInputs`. Picklable."""

    def __init__(self, image_transform: ImageTransform, encoder: PromptEncoder) -> None:
        self.image_transform = image_transform
        self.encoder = encoder

    def __call__(self, image: Any, caption: str) -> MLMInputs:
        pixels = self.image_transform(image)
        prompts = self.encoder(caption, pixels.ids.tolist())
        return MLMInputs(pixels.arrays, prompts.prefix, prompts.suffixes, prompts.truncated)


class MLMScorer(Scorer):
    """A multimodal language model that is asked for numbers.

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
        self.trie = self.encoder.trie
        self.layout: Layout = layout
        self.columns = score_columns()
        self.preparer = Preparer(MLMTransform(backbone.image_transform, self.encoder), limits)
        self._batches = FittingBatches()
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

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    def cost(self, inputs: MLMInputs) -> int:
        """Return the length of the prefix in tokens; suffixes are equally long."""
        return len(inputs.prefix)

    def score_batch(self, inputs: Sequence[MLMInputs]) -> Mapping[str, np.ndarray]:
        log_p, greedy = self._in_memory(self._distributions, inputs)
        summary = summarise(log_p)
        columns = {field.name: np.full(len(inputs), np.nan) for field in self.columns}
        columns |= metric_columns(summary, self.metrics)
        if self.quirks is not None:
            for index, metric in enumerate(self.metrics):
                columns[f"{metric}_top"] = greedy[:, index]
        columns["caption_truncated"] = np.array([pair.truncated for pair in inputs])
        return columns

    def distributions(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, 101) float64 probabilities of the scores 0..100.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        log_p, _ = self._in_memory(self._distributions, self.prepare_all(pairs))
        p = np.exp(log_p.astype(np.float64) - log_p.max(-1, keepdims=True))
        return np.asarray(p / p.sum(-1, keepdims=True))

    def answer_logits(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, vocabulary) float32 next-token logits right after each prompt.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        (logits,) = self._in_memory(self._answer_logits, self.prepare_all(pairs))
        return logits

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
        state = self._prefill([inputs])
        tokenizer = self.backbone.tokenizer
        texts = []
        for suffix in inputs.suffixes:
            written: list[int] = []
            while len(written) < max_tokens:
                # The state keeps only the prefix, so each step computes suffix and answer again.
                block = collate(build_blocks([np.append(suffix, written).astype(np.int64)]))
                last = self.backbone.extend(state, block)[:, -1]
                token = int(self.backbone.logits(last).argmax())
                if token == tokenizer.eos_token_id:
                    break
                written.append(token)
            texts.append(tokenizer.decode(written, skip_special_tokens=True).strip())
        return texts

    def _in_memory(
        self,
        run: Callable[[Sequence[MLMInputs]], tuple[np.ndarray, ...]],
        inputs: Sequence[MLMInputs],
    ) -> tuple[np.ndarray, ...]:
        parts = self._batches.parts(run, inputs)
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _prefill(self, inputs: Sequence[MLMInputs]) -> State:
        return self.backbone.prefill(
            [pair.image for pair in inputs], [pair.prefix for pair in inputs]
        )

    def _read(
        self, state: State, inputs: Sequence[MLMInputs], tree: Tree
    ) -> Iterator[torch.Tensor]:
        """Yield (B, metrics of the block, nodes, D) last hidden states, block by block."""
        laid_out = [build_blocks(pair.suffixes, tree, self.layout) for pair in inputs]
        for blocks in zip(*laid_out, strict=True):
            block = collate(blocks)
            hidden = self.backbone.extend(state, block)
            reads = torch.from_numpy(block.reads).to(hidden.device)
            rows = torch.arange(len(blocks), device=hidden.device)
            yield hidden[rows[:, None, None], reads]

    @torch.inference_mode()
    def _answer_logits(self, inputs: Sequence[MLMInputs]) -> tuple[np.ndarray, ...]:
        hidden = torch.cat(list(self._read(self._prefill(inputs), inputs, NO_TREE)), dim=1)
        logits = self.backbone.logits(hidden.flatten(0, 2))
        return (logits.cpu().numpy().reshape(*hidden.shape[:2], -1),)

    @torch.inference_mode()
    def _distributions(self, inputs: Sequence[MLMInputs]) -> tuple[np.ndarray, ...]:
        """Return log P of 0..100, (B, metrics, 101), and the greedy scores, (B, metrics)."""
        state = self._prefill(inputs)
        log_p, best = [], []
        for hidden in self._read(state, inputs, (self.trie.tokens, self.trie.parents)):
            block_log_p, block_best = self._read_nodes(hidden)
            log_p.append(block_log_p)
            best.append(block_best)
        numbers = self.trie.log_probabilities(torch.cat(log_p, dim=1)).cpu().numpy()
        if not np.isfinite(numbers).all():
            raise FloatingPointError("the model's logits are not finite")
        if self.quirks is None:
            return numbers, np.full(numbers.shape[:2], np.nan)
        return numbers, self._greedy(torch.cat(best, dim=1).cpu().numpy(), self.quirks.new_tokens)

    def _read_nodes(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log probabilities of the trie's columns, and the most likely token.

        Args:
            hidden: (..., D).

        Returns:
            (..., columns) float32 and (...) int64; the latter is zero if it is not needed.
        """
        columns = torch.tensor(self.trie.columns, device=hidden.device)
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
            best: (B, metrics, nodes) most likely next token at each node of the trie.
        """
        after = {
            token: node
            for node, (token, parent) in enumerate(
                zip(self.trie.tokens, self.trie.parents, strict=True), start=1
            )
            if parent == 0
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
