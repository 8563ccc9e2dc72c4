"""The integers 0 to 100 as a trie of answer tokens, and the exact distribution computed from it.

A digit-level tokenizer encodes 57 as two tokens, a whole-number one as a single token. The trie is
built by encoding every number at the position of the answer, so the kind of tokenizer need not be
known. The probability of a number is the product of its tokens' conditional probabilities, times
the probability that it ends there, if further digits could follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import MAX_SCORE, MIN_SCORE

if TYPE_CHECKING:
    import torch

NUMBERS = tuple(range(MIN_SCORE, MAX_SCORE + 1))


@dataclass(frozen=True)
class ScoreTrie:
    """The positions after a prompt whose logits are needed, and how they make a distribution.

    A *node* is a beginning of a number whose next token matters. Node 0 is the prompt's end, with
    no digit yet; the other nodes are tokens that are given to the model after it.

    Attributes:
        paths: the tokens of each number.
        tokens: (nodes - 1,) token ids of the nodes except the first.
        parents: (nodes - 1,) index of each node's parent.
        columns: token ids whose probability is needed at any node.
    """

    paths: tuple[tuple[int, ...], ...]
    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    columns: tuple[int, ...]
    _steps: np.ndarray  # (numbers, longest path): node * columns + column, or -1
    _ends: np.ndarray  # (numbers,): node at which the number must end, or -1 if nothing may follow
    _goes_on: np.ndarray  # (nodes, columns): tokens that would make the number at this node longer

    @classmethod
    def from_tokenizer(cls, encode: Callable[[str], Sequence[int]], prompt: str) -> ScoreTrie:
        """Build the trie for a tokenizer.

        Args:
            encode: text to token ids, as the model's prompts are encoded.
            prompt: text right before the first digit of an answer.

        Raises:
            PairsiftError: the tokenizer gives two numbers the same tokens.
        """
        sequences = [tuple(encode(f"{prompt}{number}")) for number in NUMBERS]
        shared = common_prefix(sequences)
        return cls.from_paths([sequence[shared:] for sequence in sequences])

    @classmethod
    def from_paths(cls, paths: Sequence[Sequence[int]]) -> ScoreTrie:
        """Build it from the answer tokens of each number 0..100."""
        spelled = tuple(tuple(path) for path in paths)
        if len(set(spelled)) != len(NUMBERS) or not all(spelled):
            raise PairsiftError(
                "the tokenizer gives some numbers from 0 to 100 the same tokens; "
                "no score can be read from this model"
            )
        children: dict[tuple[int, ...], set[int]] = {}
        for path in spelled:
            for length in range(len(path)):
                children.setdefault(path[:length], set()).add(path[length])
        # No number of the scale continues after 0, but digits after 0 would make another number.
        if spelled[1] in children:
            children.setdefault(spelled[0], set()).update(children[spelled[1]])

        nodes = sorted(children, key=lambda node: (len(node), node))
        index = {node: position for position, node in enumerate(nodes)}
        columns = tuple(sorted(set().union(*children.values())))
        column = {token: position for position, token in enumerate(columns)}

        steps = np.full((len(NUMBERS), max(map(len, spelled))), -1, dtype=np.int64)
        for number, path in enumerate(spelled):
            for length, token in enumerate(path):
                steps[number, length] = index[path[:length]] * len(columns) + column[token]
        goes_on = np.zeros((len(nodes), len(columns)), dtype=bool)
        for node, tokens in children.items():
            goes_on[index[node], [column[token] for token in tokens]] = True
        return cls(
            paths=spelled,
            tokens=tuple(node[-1] for node in nodes[1:]),
            parents=tuple(index[node[:-1]] for node in nodes[1:]),
            columns=columns,
            _steps=steps,
            _ends=np.array([index.get(path, -1) for path in spelled]),
            _goes_on=goes_on,
        )

    @property
    def nodes(self) -> int:
        """Number of positions whose logits are needed, including the prompt's end."""
        return len(self.tokens) + 1

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Number of answer tokens before each node's next token; 0 for node 0."""
        depths = [0]
        for parent in self.parents:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    def log_probabilities(self, log_p: torch.Tensor) -> torch.Tensor:
        """Return log P(number) under the full vocabulary; not renormalised.

        Args:
            log_p: (..., nodes, columns) float32 log probabilities of :attr:`columns` at each node.

        Returns:
            (..., 101) float32; the exponentials sum to at most 1.
        """
        import torch

        device = log_p.device
        flat = log_p.flatten(-2)
        steps = torch.from_numpy(self._steps).to(device)
        taken = flat[..., steps.clamp_min(0)]
        total = taken.masked_fill(steps < 0, 0.0).sum(-1)
        goes_on = torch.from_numpy(self._goes_on).to(device)
        further = log_p.exp().masked_fill(~goes_on, 0.0).sum(-1)
        # Rounding may make the sum of probabilities slightly larger than one.
        ending = torch.log1p(-further.clamp(max=1 - 1e-7))
        ends = torch.from_numpy(self._ends).to(device)
        return total + ending[..., ends.clamp_min(0)].masked_fill(ends < 0, 0.0)


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What is stored about score distributions; each array has the distributions' leading shape.

    Attributes:
        expected: mean score, 0..100.
        top: most likely integer; the smaller one in a tie.
        std: standard deviation of the score.
        validity: probability that the model answers with an integer of the scale, 0..1.
    """

    expected: np.ndarray
    top: np.ndarray
    std: np.ndarray
    validity: np.ndarray


def summarise(log_p: np.ndarray) -> ScoreSummary:
    """Renormalise log probabilities of 0..100, (..., 101), and compute their moments."""
    log_p = log_p.astype(np.float64)
    peak = log_p.max(-1, keepdims=True)
    mass = np.exp(log_p - peak)
    total = mass.sum(-1, keepdims=True)
    p = mass / total
    scores = np.array(NUMBERS, dtype=np.float64)
    expected = p @ scores
    variance = (p * (scores - expected[..., None]) ** 2).sum(-1)
    return ScoreSummary(
        expected=expected,
        top=log_p.argmax(-1),
        std=np.sqrt(variance),
        validity=np.minimum((total * np.exp(peak))[..., 0], 1.0),
    )


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Return the length of the longest beginning that all sequences share."""
    # All other sequences are between these two.
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
