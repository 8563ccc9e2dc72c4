"""Tokens after the shared prefix of a prompt: metric suffixes and trie nodes, as trees of tokens.

One block is one forward pass after the prefix. A block holds one metric's suffix (*looped*: one
pass per metric, causal except for the trie), or all of them side by side (*packed*: one pass, in
which a mask separates the suffixes). Both give the same logits; which one is faster depends on the
device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Layout = Literal["looped", "packed"]

# A trie for packing: the tokens and parents of all nodes except the first.
Tree = tuple[tuple[int, ...], tuple[int, ...]]
NO_TREE: Tree = ((), ())


@dataclass(frozen=True)
class Shape:
    """Everything about a block except its token ids; shared by all pairs with suffixes of equal
    length.

    Attributes:
        depth: (S,) tokens between the prefix and each token on its own branch.
        visible: (S, S) bool; row i is what token i attends to, itself included. The prefix is
            visible to all.
        reads: (metrics, nodes) positions whose logits are needed.
    """

    depth: np.ndarray
    visible: np.ndarray
    reads: np.ndarray


@dataclass(frozen=True)
class Block:
    """Tokens of one pair after its prefix: ids, (S,) int64, and their shape."""

    ids: np.ndarray
    shape: Shape


def build_blocks(
    suffixes: Sequence[np.ndarray], tree: Tree = NO_TREE, layout: Layout = "looped"
) -> list[Block]:
    """Arrange one pair's suffixes, each followed by the trie.

    Args:
        suffixes: token ids per metric, none of them empty.
        tree: tokens and parents of the trie's nodes except the first, which is the suffix's end.

    Returns:
        one block per metric, or one for all; rows of ``reads`` follow the order of ``suffixes``.
    """
    groups = [[suffix] for suffix in suffixes] if layout == "looped" else [list(suffixes)]
    tokens = np.array(tree[0], dtype=np.int64)
    return [
        Block(
            np.concatenate([part for suffix in group for part in (suffix, tokens)]).astype(
                np.int64
            ),
            _shape(tuple(map(len, group)), tree[1]),
        )
        for group in groups
    ]


@lru_cache(maxsize=1024)
def _shape(lengths: tuple[int, ...], parents: tuple[int, ...]) -> Shape:
    nodes = len(parents)
    size = sum(lengths) + nodes * len(lengths)
    depth = np.zeros(size, dtype=np.int64)
    visible = np.zeros((size, size), dtype=bool)
    reads = np.zeros((len(lengths), nodes + 1), dtype=np.int64)
    start = 0
    for row, length in enumerate(lengths):
        end = start + length
        depth[start:end] = np.arange(length)
        visible[start:end, start:end] = np.tri(length, dtype=bool)
        positions = [end - 1, *range(end, end + nodes)]
        for node, parent in enumerate(parents, start=1):
            here, above = positions[node], positions[parent]
            depth[here] = depth[above] + 1
            visible[here] = visible[above]
            visible[here, here] = True
        reads[row] = positions
        start = end + nodes
    return Shape(depth, visible, reads)


@dataclass(frozen=True)
class Collated:
    """Blocks of several pairs, padded on the right to the longest.

    Attributes:
        ids, depth: (B, S) int64.
        visible: (B or 1, S, S) bool; 1 if all pairs share it.
        reads: (B, metrics, nodes) int64.
    """

    ids: np.ndarray
    depth: np.ndarray
    visible: np.ndarray
    reads: np.ndarray


def collate(blocks: Sequence[Block]) -> Collated:
    """Stack the blocks of a batch; nothing attends to padding."""
    return pad(blocks, np.stack([block.shape.reads for block in blocks]))


def pad(blocks: Sequence[Block], reads: np.ndarray) -> Collated:
    """Stack blocks like :func:`collate`, with other ``reads`` of any shape."""
    shapes = [block.shape for block in blocks]
    if all(shape is shapes[0] for shape in shapes):
        depth = np.broadcast_to(shapes[0].depth, (len(blocks), len(shapes[0].depth)))
        ids = np.stack([block.ids for block in blocks])
        return Collated(ids, depth.copy(), shapes[0].visible[None], reads)
    size = max(len(block.ids) for block in blocks)
    ids = np.zeros((len(blocks), size), dtype=np.int64)
    depth = np.zeros_like(ids)
    visible = np.broadcast_to(np.eye(size, dtype=bool), (len(blocks), size, size)).copy()
    for row, block in enumerate(blocks):
        length = len(block.ids)
        ids[row, :length] = block.ids
        depth[row, :length] = block.shape.depth
        visible[row, :length, :length] = block.shape.visible
    return Collated(ids, depth, visible, reads)
