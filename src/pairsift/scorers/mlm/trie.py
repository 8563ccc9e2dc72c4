"""The integers 0 to 100 as a trie of answer tokens, and the exact distribution read from it.

A digit-level tokenizer spells 57 as two tokens, a whole-number one as one; the trie is found by
encoding every number where the answer stands, so neither needs to be known by name. The
probability of a number is the product of its tokens' conditional probabilities, times the
probability that it ends there where further digits could follow.
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
    """Where to ask for logits behind a prompt, and how they make a distribution.

    A *node* is a beginning of a number whose next token matters. Node 0 is the prompt's end, with
    no digit yet; the others are fed to the model behind it.

    Attributes:
        paths: per number, its tokens.
        tokens: (nodes - 1,) token ids of the nodes but the first.
        parents: (nodes - 1,) index of the node that each hangs on.
        columns: token ids whose probability is needed anywhere.
    """

    paths: tuple[tuple[int, ...], ...]
    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    columns: tuple[int, ...]
    _steps: np.ndarray  # (numbers, longest path): node * columns + column, or -1
    _ends: np.ndarray  # (numbers,): node at which the number must end, or -1 if nothing may follow
    _goes_on: np.ndarray  # (nodes, columns): what would make the number at this node a longer one

    @classmethod
    def from_tokenizer(cls, encode: Callable[[str], Sequence[int]], prompt: str) -> ScoreTrie:
        """Inspect a tokenizer.

        Args:
            encode: text to token ids, as the model's prompts are encoded.
            prompt: text right before the first digit of an answer.

        Raises:
            PairsiftError: the tokenizer cannot tell the numbers apart.
        """
        sequences = [tuple(encode(f"{prompt}{number}")) for number in NUMBERS]
        shared = common_prefix(sequences)
        return cls.from_paths([sequence[shared:] for sequence in sequences])

    @classmethod
    def from_paths(cls, paths: Sequence[Sequence[int]]) -> ScoreTrie:
        """Build from the answer tokens of each number 0..100."""
        spelled = tuple(tuple(path) for path in paths)
        if len(set(spelled)) != len(NUMBERS) or not all(spelled):
            raise PairsiftError(
                "the tokenizer does not spell the numbers 0 to 100 differently; "
                "no score can be read from this model"
            )
        children: dict[tuple[int, ...], set[int]] = {}
        for path in spelled:
            for length in range(len(path)):
                children.setdefault(path[:length], set()).add(path[length])
        # No number of the scale goes on after 0, but digits after it would be read on as after 1.
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
        """How many places the logits are wanted at, the prompt's end included."""
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
        # Rounding may put the sum of probabilities a hair above one.
        ending = torch.log1p(-further.clamp(max=1 - 1e-7))
        ends = torch.from_numpy(self._ends).to(device)
        return total + ending[..., ends.clamp_min(0)].masked_fill(ends < 0, 0.0)


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What is kept of score distributions; each array has the distributions' leading shape.

    Attributes:
        expected: mean score, 0..100.
        top: most likely integer; the smaller one in a tie.
        std: standard deviation of the score.
        validity: probability that the model answers with an integer of the scale at all, 0..1.
    """

    expected: np.ndarray
    top: np.ndarray
    std: np.ndarray
    validity: np.ndarray


def summarise(log_p: np.ndarray) -> ScoreSummary:
    """Renormalise log probabilities of 0..100, (..., 101), and take their moments."""
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
    """Length of the longest beginning that all sequences share."""
    # All others lie between these two.
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
