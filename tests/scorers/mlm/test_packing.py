from __future__ import annotations

import numpy as np

from pairsift.scorers.mlm.packing import build_blocks, collate

TREE = ((90, 91, 92), (0, 0, 2))  # two first tokens, and one behind the second of them
SUFFIXES = [np.array([1, 2, 3]), np.array([4, 5])]


def ancestry(block, position):
    """Ids that a token sees, itself included, in order."""
    return block.ids[block.shape.visible[position]].tolist()


def test_looped_blocks_hold_one_metric_each():
    first, second = build_blocks(SUFFIXES, [TREE, TREE], "looped")
    assert first.ids.tolist() == [1, 2, 3, 90, 91, 92]
    assert second.ids.tolist() == [4, 5, 90, 91, 92]
    assert first.shape.depth.tolist() == [0, 1, 2, 3, 3, 4]
    assert first.shape.reads.tolist() == [2, 3, 4, 5]
    assert ancestry(first, 1) == [1, 2]
    assert ancestry(first, 3) == [1, 2, 3, 90]
    assert ancestry(first, 4) == [1, 2, 3, 91]  # not its sibling
    assert ancestry(first, 5) == [1, 2, 3, 91, 92]


def test_a_packed_block_keeps_the_metrics_apart():
    (block,) = build_blocks(SUFFIXES, [TREE, TREE], "packed")
    assert block.ids.tolist() == [1, 2, 3, 90, 91, 92, 4, 5, 90, 91, 92]
    assert block.shape.reads.tolist() == [2, 3, 4, 5, 7, 8, 9, 10]
    assert ancestry(block, 7) == [4, 5]
    assert ancestry(block, 10) == [4, 5, 91, 92]
    assert block.shape.depth[6:].tolist() == [0, 1, 2, 2, 3]


def test_collating_blocks_of_one_shape_shares_their_mask():
    blocks = [build_blocks(SUFFIXES, [TREE, TREE], "packed")[0] for _ in range(3)]
    assert collate(blocks).visible.shape == (1, 11, 11)


def test_padding_sees_itself_and_is_seen_by_nothing():
    short = build_blocks([np.array([7])], [TREE])[0]
    long = build_blocks([np.array([1, 2, 3])], [TREE])[0]
    batch = collate([short, long])
    assert batch.ids.shape == (2, 6)
    assert batch.ids[0].tolist() == [7, 90, 91, 92, 0, 0]
    np.testing.assert_array_equal(batch.visible[0, :4, :4], short.shape.visible)
    np.testing.assert_array_equal(batch.visible[1], long.shape.visible)
    assert not batch.visible[0, :4, 4:].any()
    np.testing.assert_array_equal(batch.visible[0, 4:], np.eye(6, dtype=bool)[4:])
    assert batch.reads[0].tolist() == [0, 1, 2, 3]
