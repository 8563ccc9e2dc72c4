"""Draws that are the same on every machine."""

from __future__ import annotations

import math

import numpy as np

from pairsift.cascade.sampling import draw, is_audited


def test_a_draw_depends_on_the_names_alone() -> None:
    # Written down once: another value would draw another audit on resuming.
    assert f"{draw(0, '00000', 'a'):.12f}" == "0.864513036477"
    assert len({draw(seed, shard, key) for seed in (0, 1) for shard in "ab" for key in "xy"}) == 8
    assert 0 <= draw(0, "s", "\ud800") < 1


def test_a_share_is_audited_and_a_larger_share_holds_the_smaller() -> None:
    drawn = np.array([draw(7, "shard", str(key)) for key in range(20_000)])
    assert 0 <= drawn.min() < drawn.max() < 1
    for rate in (0.01, 0.1, 0.5):
        share = np.mean([is_audited(value, rate) for value in drawn])
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / len(drawn))
    assert {v for v in drawn if is_audited(v, 0.1)} <= {v for v in drawn if is_audited(v, 0.2)}
    assert not any(is_audited(value, 0) for value in drawn)
    assert all(is_audited(value, 1) for value in drawn)
    # The plan is made of the pairs with the lowest draws.
    assert is_audited(0.95, 0.1)
    assert not is_audited(0.05, 0.1)


def test_draws_are_uniform_and_depend_on_the_seed() -> None:
    drawn = np.array([draw(0, "00000", f"{number:09d}") for number in range(4000)])
    assert abs(drawn.mean() - 0.5) < 4 / math.sqrt(12 * 4000)
    assert 0.15 < np.mean([is_audited(one, 0.2) for one in drawn]) < 0.25
    assert draw(1, "00000", "000000000") != drawn[0]
