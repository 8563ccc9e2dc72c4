"""The answers of a metric as a trie of tokens, and the exact distribution read from it.

A digit-level tokenizer spells 57 as two tokens, a whole-number one as one; the trie is found by
encoding every answer where it stands, so neither needs to be known by name. The probability of an
answer is the product of its tokens' conditional probabilities, times the probability that the
model does not go on to a longer answer; spellings of one answer add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import Metric, Scale

if TYPE_CHECKING:
    import torch

Path = tuple[int, ...]
#: The tokens and parents of a trie's nodes but the first, as packing sees them.
Tree = tuple[tuple[int, ...], tuple[int, ...]]

#: Stands for log 0, where metrics with fewer answers are padded: finite, so that 0 times it is 0.
NEVER = -1e4


@dataclass(frozen=True)
class AnswerTrie:
    """Where to ask for logits behind a prompt, and how they make a distribution.

    A *node* is a beginning of an answer whose next token matters. Node 0 is the prompt's end, with
    no token of an answer yet; the others are fed to the model behind it.

    Attributes:
        paths: per answer, the tokens of each of its spellings.
        tokens: (nodes - 1,) token ids of the nodes but the first.
        parents: (nodes - 1,) index of the node that each hangs on.
        columns: token ids whose probability is needed anywhere.
    """

    paths: tuple[tuple[Path, ...], ...]
    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    columns: tuple[int, ...]
    _owners: np.ndarray  # (spellings,): which answer each one gives
    _steps: np.ndarray  # (spellings, longest path): node * columns + column, or -1
    _ends: np.ndarray  # (spellings,): node at which it must end, or -1 if nothing may follow
    _goes_on: np.ndarray  # (nodes, columns): what would make the answer at this node another one

    @classmethod
    def from_paths(
        cls,
        paths: Sequence[Sequence[Sequence[int]]],
        spoiling: Mapping[Path, set[int]] | None = None,
    ) -> AnswerTrie:
        """Build from token paths.

        Args:
            paths: per answer, the tokens of each of its spellings. Spellings of one answer may
                share all tokens.
            spoiling: tokens which, behind a path, make it no answer at all.

        Raises:
            PairsiftError: a spelling has no tokens, or two answers share all of theirs.
        """
        spelled = tuple(tuple(dict.fromkeys(map(tuple, answer))) for answer in paths)
        owner: dict[Path, int] = {}
        for index, answer in enumerate(spelled):
            for path in answer:
                if not path:
                    raise PairsiftError("an answer has no tokens")
                if path in owner:
                    raise PairsiftError(f"answers {owner[path]} and {index} share all tokens")
                owner[path] = index
        children: dict[Path, set[int]] = {}
        for path in owner:
            for length in range(len(path)):
                children.setdefault(path[:length], set()).add(path[length])
        for path, tokens in (spoiling or {}).items():
            children.setdefault(path, set()).update(tokens)

        nodes = sorted(children, key=lambda node: (len(node), node))
        index_of = {node: position for position, node in enumerate(nodes)}
        columns = tuple(sorted(set().union(*children.values())))
        column = {token: position for position, token in enumerate(columns)}

        steps = np.full((len(owner), max(map(len, owner))), -1, dtype=np.int64)
        for row, path in enumerate(owner):
            for length, token in enumerate(path):
                steps[row, length] = index_of[path[:length]] * len(columns) + column[token]
        goes_on = np.zeros((len(nodes), len(columns)), dtype=bool)
        for node, tokens in children.items():
            goes_on[index_of[node], [column[token] for token in tokens]] = True
        return cls(
            paths=spelled,
            tokens=tuple(node[-1] for node in nodes[1:]),
            parents=tuple(index_of[node[:-1]] for node in nodes[1:]),
            columns=columns,
            _owners=np.array(list(owner.values())),
            _steps=steps,
            _ends=np.array([index_of.get(path, -1) for path in owner]),
            _goes_on=goes_on,
        )

    @property
    def nodes(self) -> int:
        """Number of positions whose logits are needed, including the prompt's end."""
        return len(self.tokens) + 1

    @property
    def tree(self) -> Tree:
        """The trie as packing sees it."""
        return self.tokens, self.parents

    @cached_property
    def beginnings(self) -> tuple[Path, ...]:
        """Per node, the answer tokens before its next token; none for node 0."""
        found: list[Path] = [()]
        for token, parent in zip(self.tokens, self.parents, strict=True):
            found.append((*found[parent], token))
        return tuple(found)

    @property
    def depth(self) -> int:
        """The most answer tokens that are fed to the model."""
        return max(map(len, self.beginnings))

    def log_probabilities(self, log_p: torch.Tensor) -> torch.Tensor:
        """Return log P(answer) under the full vocabulary; not renormalised.

        Args:
            log_p: (..., nodes, columns) float32 log probabilities of :attr:`columns` at each node.

        Returns:
            (..., answers) float32; the exponentials sum to at most 1.
        """
        import torch

        from pairsift.scorers.transfer import to_device

        device = log_p.device
        flat = log_p.flatten(-2)
        steps = to_device(self._steps, device)
        taken = flat[..., steps.clamp_min(0)]
        total = taken.masked_fill(steps < 0, 0.0).sum(-1)
        goes_on = to_device(self._goes_on, device)
        further = log_p.exp().masked_fill(~goes_on, 0.0).sum(-1)
        # Rounding may make the sum of probabilities slightly larger than one.
        ending = torch.log1p(-further.clamp(max=1 - 1e-7))
        ends = to_device(self._ends, device)
        spelled = total + ending[..., ends.clamp_min(0)].masked_fill(ends < 0, 0.0)
        if len(self._owners) == len(self.paths):
            return spelled
        return torch.stack(
            [
                spelled[..., to_device(np.flatnonzero(self._owners == answer), device)].logsumexp(
                    -1
                )
                for answer in range(len(self.paths))
            ],
            dim=-1,
        )


def metric_trie(
    encode: Callable[[str], Sequence[int]], prompt: str, metric: Metric, unknown: int | None = None
) -> AnswerTrie:
    """The trie of a metric's answers, by what a tokenizer makes of them.

    Args:
        encode: text to token ids, as the model's prompts are encoded.
        prompt: text right before the first character of an answer.
        unknown: the token that stands for what the tokenizer does not know, if there is one.

    Raises:
        PairsiftError: the tokenizer does not know an answer, or cannot tell two apart; names them.
    """
    answers = metric.scale.answers
    sequences = [[tuple(encode(prompt + text)) for text in one.spellings] for one in answers]
    # Joining an answer to the prompt may change the prompt's last tokens (" 50" as one token), so
    # an answer begins where it may differ from another one, or from the prompt alone.
    others = "0123456789" if metric.scale.integers else ("",)
    shared = common_prefix([*itertools.chain(*sequences), *(encode(prompt + o) for o in others)])
    paths = [[sequence[shared:] for sequence in one] for one in sequences]
    _check_told_apart(paths, metric, unknown)
    return AnswerTrie.from_paths(paths, _digits_behind_zero(paths, metric.scale))


def _check_told_apart(paths: Sequence[Sequence[Path]], metric: Metric, unknown: int | None) -> None:
    """Raise an error that names the texts of an unknown answer, or of two with the same tokens."""
    first: dict[Path, tuple[int, str]] = {}
    for index, (answer, spelled) in enumerate(zip(metric.scale.answers, paths, strict=True)):
        for text, path in zip(answer.spellings, spelled, strict=True):
            if not path or unknown in path:
                raise PairsiftError(
                    f"metric {metric.name!r}: this model's tokenizer does not know the answer "
                    f"{text!r}; give another spelling"
                )
            other, before = first.setdefault(path, (index, text))
            if other != index:
                raise PairsiftError(
                    f"metric {metric.name!r}: this model's tokenizer makes the same tokens of the "
                    f"answers {before!r} and {text!r}; give one of them another spelling"
                )


def _digits_behind_zero(paths: Sequence[Sequence[Path]], scale: Scale) -> dict[Path, set[int]]:
    """What may not follow a 0: no number goes on there, but digits would be read on as after 1."""
    if not scale.integers or not {0.0, 1.0} <= set(scale.values):
        return {}
    [zero], [one] = (paths[scale.values.index(value)] for value in (0.0, 1.0))
    behind = {
        path[len(one)] for [path] in paths if len(path) > len(one) and path[: len(one)] == one
    }
    return {zero: behind} if behind else {}


class AnswerTries(tuple[AnswerTrie, ...]):
    """The tries of several metrics, whose nodes are read in one pass, one metric behind another."""

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Token ids whose probability any of them needs."""
        return tuple(sorted({token for trie in self for token in trie.columns}))

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The tries as packing sees them."""
        return tuple(trie.tree for trie in self)

    @cached_property
    def answers(self) -> int:
        """The most answers that a metric has."""
        return max(len(trie.paths) for trie in self)

    @cached_property
    def places(self) -> tuple[list[int], ...]:
        """Per metric, where its columns stand in :attr:`columns`."""
        place = {token: index for index, token in enumerate(self.columns)}
        return tuple([place[token] for token in trie.columns] for trie in self)

    def log_probabilities(self, log_p: torch.Tensor) -> torch.Tensor:
        """Return log P of all metrics' answers; not renormalised.

        Args:
            log_p: (..., nodes of all metrics, columns) float32 log probabilities.

        Returns:
            (..., metrics, answers) float32, padded with :data:`NEVER` on the right.
        """
        import torch

        nodes = torch.split(log_p, [trie.nodes for trie in self], dim=-2)
        return torch.stack(
            [self.of_metric(index, part) for index, part in enumerate(nodes)], dim=-2
        )

    def of_metric(self, index: int, log_p: torch.Tensor) -> torch.Tensor:
        """As :meth:`log_probabilities`, for the nodes of one metric: (..., answers)."""
        import torch

        from pairsift.scorers.transfer import to_device

        places = to_device(np.array(self.places[index]), log_p.device)
        found = self[index].log_probabilities(log_p[..., places])
        return torch.nn.functional.pad(found, (0, self.answers - found.shape[-1]), value=NEVER)


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What is stored about score distributions; each array has the distributions' leading shape.

    Attributes:
        expected: mean value of the answers.
        top: value of the most likely answer; the smaller one in a tie.
        std: standard deviation of the value.
        validity: probability that the model gives one of the answers at all, 0..1.
    """

    expected: np.ndarray
    top: np.ndarray
    std: np.ndarray
    validity: np.ndarray


def summarise(log_p: np.ndarray, values: np.ndarray) -> ScoreSummary:
    """Renormalise log probabilities of answers and take their moments.

    Args:
        log_p: (..., metrics, answers).
        values: (metrics, answers) or (answers,), as of :func:`answer_values`.
    """
    log_p = log_p.astype(np.float64)
    peak = log_p.max(-1, keepdims=True)
    mass = np.exp(log_p - peak)
    total = mass.sum(-1, keepdims=True)
    p = mass / total
    expected = (p * values).sum(-1)
    variance = (p * (values - expected[..., None]) ** 2).sum(-1)
    top = log_p.argmax(-1)[..., None]
    return ScoreSummary(
        expected=expected,
        top=np.take_along_axis(np.broadcast_to(values, log_p.shape), top, -1)[..., 0],
        std=np.sqrt(variance),
        validity=np.minimum((total * np.exp(peak))[..., 0], 1.0),
    )


def answer_values(scales: Sequence[Scale]) -> np.ndarray:
    """(metrics, answers) float64 values of the metrics' answers, padded with 0 on the right."""
    values = np.zeros((len(scales), max(len(scale.answers) for scale in scales)))
    for row, scale in zip(values, scales, strict=True):
        row[: len(scale.answers)] = scale.values
    return values


def answer_points(scales: Sequence[Scale]) -> np.ndarray:
    """As :func:`answer_values`, each scale stretched so that it goes from 0 to 100 points."""
    points = np.zeros((len(scales), max(len(scale.answers) for scale in scales)))
    for row, scale in zip(points, scales, strict=True):
        row[: len(scale.answers)] = [scale.points(value) for value in scale.values]
    return points


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Return the length of the longest beginning that all sequences share."""
    # All other sequences are between these two.
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
