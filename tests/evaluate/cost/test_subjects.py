"""What can be measured."""

from __future__ import annotations

from pairsift.evaluate.cost.subjects import installed


def test_what_needs_a_checkpoint_is_left_out_with_the_reason() -> None:
    found, left_out = installed()
    assert {"pairsift-tiny", "dual-encoder", "heuristics"} <= set(found)
    assert "needs the option 'model'" in left_out["mlm"]
