"""Pairs are drawn evenly over scores, topics and images."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pairsift.balance.histogram import histograms
from pairsift.balance.sample import balance, bucket_of, even_quotas
from pairsift.teach.records import Record
from tests.balance.conftest import teacher_records


@pytest.mark.parametrize("seed", range(50))
def test_quotas_are_as_even_as_what_is_there_allows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    available = rng.integers(0, 31, rng.integers(1, 13)).tolist()
    wanted = int(rng.integers(0, 200))
    taken = even_quotas(available, wanted)
    assert sum(taken) == min(wanted, sum(available))
    assert all(0 <= t <= a for t, a in zip(taken, available, strict=True))
    # Whoever got less than another by more than one had no more to give.
    for t, a in zip(taken, available, strict=True):
        if t < max(taken) - 1:
            assert t == a


def test_scores_fall_into_buckets() -> None:
    assert [bucket_of(s, 10) for s in (0, 9.99, 10, 99, 100)] == [0, 0, 1, 9, 9]


def test_scores_are_drawn_evenly() -> None:
    records = teacher_records()
    chosen = balance(records, np.zeros(400, np.intp), ["itm", "ctq"], per_metric=60, buckets=10)
    assert Counter(choice.metric for choice in chosen) == {"itm": 60, "ctq": 60}
    found = histograms(records, chosen, ["itm"], 10)["itm"]
    assert sum(found.before) == 400
    assert max(found.before) > 5 * np.median(found.before)
    for before, after in zip(found.before, found.after, strict=True):
        assert after <= before
        if after < max(found.after) - 1:
            assert after == before
    pairs = [(c.metric, c.record.image, c.record.caption) for c in chosen]
    assert len(set(pairs)) == 120
    assert [c.metric for c in chosen] != sorted(c.metric for c in chosen)


def test_a_rare_topic_is_not_crowded_out() -> None:
    records = [Record(f"{i}.jpg", f"dog {i}", scores={"itm": 95.0}) for i in range(95)]
    records += [Record(f"{i}.jpg", f"violin {i}", scores={"itm": 95.0}) for i in range(5)]
    clusters = np.array([0] * 95 + [1] * 5)
    chosen = balance(records, clusters, ["itm"], per_metric=10)
    assert sum("violin" in choice.record.caption for choice in chosen) == 5


def test_images_are_used_evenly() -> None:
    records = [Record(f"{i % 4}.jpg", f"dog {i}", scores={"itm": 95.0}) for i in range(80)]
    chosen = balance(records, np.zeros(80, np.intp), ["itm"], per_metric=8)
    assert set(Counter(choice.record.image for choice in chosen).values()) == {2}


def test_a_pair_that_was_judged_twice_counts_once() -> None:
    records = [Record("a.jpg", "dog", scores={"itm": 95.0})] * 9
    assert len(balance(records, np.zeros(9, np.intp), ["itm"], per_metric=5)) == 1


def test_the_seed_decides() -> None:
    records, clusters = teacher_records(), np.arange(400) % 7
    one, two, three = (
        [(c.record.caption, c.metric) for c in balance(records, clusters, ["itm"], 50, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert one == two != three
