"""Bars of text for the scores before and after balancing."""

from __future__ import annotations

from pairsift.balance.histogram import Histogram, histograms
from pairsift.balance.sample import Chosen
from pairsift.metrics import Scale
from pairsift.teach.records import Record

RECORDS = [Record(f"{score}.jpg", "a dog", scores={"itm": score}) for score in (0, 5, 50, 99, 100)]


def test_each_metric_counts_its_own_scores_in_its_own_scale() -> None:
    records = [*RECORDS, Record("x.jpg", "a cat", scores={"stars": 5.0})]
    chosen = [Chosen(RECORDS[4], "itm"), Chosen(records[5], "stars")]
    scales = {"stars": Scale.range(1, 5)}
    found = histograms(records, chosen, ["itm", "stars", "odf"], 4, scales)
    assert (found["itm"].before, found["itm"].after) == ((2, 0, 1, 2), (0, 0, 0, 1))
    assert (found["stars"].before, found["stars"].after) == ((0, 0, 0, 1), (0, 0, 0, 1))
    assert found["odf"].to_json() == {"before": [0] * 4, "after": [0] * 4}
    assert found["stars"].scale == scales["stars"]


def test_the_longest_bar_of_each_side_is_that_of_its_largest_bucket() -> None:
    lines = Histogram("itm", before=(2, 1000, 0), after=(1, 2, 0)).text().split("\n")
    assert lines[0].split() == ["itm", "teacher", "chosen"]
    assert lines[2].split() == ["33-67", "1,000", "█" * 24, "2", "█" * 24]
    assert lines[1].split() == ["0-33", "2", "1", "█" * 12]
    assert lines[3].split() == ["67-100", "0", "0"]
    columns = {line.rindex("  ") for line in lines[1:]}
    assert len(columns) == 1  # the numbers of the right side stand below each other


def test_narrow_buckets_are_named_with_decimals() -> None:
    lines = Histogram("x", (0, 0), (0, 0), Scale.listed({"no": 0, "yes": 1})).text().split("\n")
    assert [line.split()[0] for line in lines[1:]] == ["0.00-0.50", "0.50-1.00"]
    assert "█" not in "".join(lines)
