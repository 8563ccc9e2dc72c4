"""Tokens after the shared prefix of a prompt: metric suffixes and trie nodes, as trees of tokens.

One block is one forward pass behind the prefix. A block may hold one metric's suffix (*looped*:
a pass per metric, causal but for the trie) or all of them side by side (*packed*: one pass, in
which a mask keeps the suffixes apart). Both give the same logits, at the same nodes in the same
order, metric by metric; which one is quicker depends on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from pairsift.scorers.mlm.trie import Tree

Layout = Literal["looped", "packed"]

NO_TREE: Tree = ((), ())


@dataclass(frozen=True)
class Shape:
    """Everything about a block except its token ids; shared by all pairs with suffixes of equal
    length.

    Attributes:
        depth: (S,) tokens between the prefix and each token on its own branch.
        visible: (S, S) bool; row i is what token i attends to, itself included. The prefix is
            visible to all.
        reads: (nodes of all metrics,) positions at which logits are wanted, metric by metric.
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
    suffixes: Sequence[np.ndarray],
    trees: Sequence[Tree] | None = None,
    layout: Layout = "looped",
) -> list[Block]:
    """Lay out one pair's suffixes, each with its metric's trie behind it.

    Args:
        suffixes: token ids per metric, none of them empty.
        trees: per metric, tokens and parents of the trie's nodes but the first, which is the
            suffix's end; None to read the suffixes' ends only.

    Returns:
        one block per metric, or one for all; ``reads`` follow the order of ``suffixes``.
    """
    branches = list(zip(suffixes, trees or [NO_TREE] * len(suffixes), strict=True))
    groups = [[branch] for branch in branches] if layout == "looped" else [branches]
    return [
        Block(
            np.concatenate([np.append(suffix, tokens) for suffix, (tokens, _) in group]).astype(
                np.int64
            ),
            _shape(
                tuple(len(suffix) for suffix, _ in group),
                tuple(parents for _, (_, parents) in group),
            ),
        )
        for group in groups
    ]


def answers_alone(tree: Tree) -> Block:
    """A trie's nodes but the first, behind a prompt that was read to its end."""
    shape = _shape((1,), (tree[1],))
    return Block(
        np.array(tree[0], dtype=np.int64),
        Shape(shape.depth[1:] - 1, shape.visible[1:, 1:], shape.reads[1:] - 1),
    )


@lru_cache(maxsize=1024)
def _shape(lengths: tuple[int, ...], parents: tuple[tuple[int, ...], ...]) -> Shape:
    size = sum(lengths) + sum(map(len, parents))
    depth = np.zeros(size, dtype=np.int64)
    visible = np.zeros((size, size), dtype=bool)
    reads: list[int] = []
    start = 0
    for length, above in zip(lengths, parents, strict=True):
        end = start + length
        depth[start:end] = np.arange(length)
        visible[start:end, start:end] = np.tri(length, dtype=bool)
        positions = [end - 1, *range(end, end + len(above))]
        for here, parent in zip(positions[1:], above, strict=True):
            depth[here] = depth[positions[parent]] + 1
            visible[here] = visible[positions[parent]]
            visible[here, here] = True
        reads += positions
        start = end + len(above)
    return Shape(depth, visible, np.array(reads, dtype=np.int64))


@dataclass(frozen=True)
class Collated:
    """Blocks of several pairs, padded on the right to the longest.

    Attributes:
        ids, depth: (B, S) int64.
        visible: (B or 1, S, S) bool; 1 where all pairs share it.
        reads: (B, nodes of the block's metrics) int64.
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
