"""Models that are read by their own forward pass."""

from __future__ import annotations

from pairsift.scorers.mlm.families.generic import Paths


def test_paths_are_the_longest_beginnings_of_a_trie():
    #  0 ─ 5 ─ 6
    #    └ 7
    paths = Paths(((5, 7, 6), (0, 0, 1)))
    assert [row.tolist() for row in paths.rows] == [[7], [5, 6]]
    assert paths.nodes == [(0, 0), (1, 1), (0, 1), (1, 2)]
    assert paths.longest == 2
