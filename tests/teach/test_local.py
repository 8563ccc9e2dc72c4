"""A scorer on this machine as a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.scores import metric_field
from pairsift.teach.local import annotate_locally
from pairsift.teach.records import Record
from tests.samples import jpeg


class Lengths(Scorer):
    """Scores a caption by its length; has no opinion on captions of one word."""

    name: ClassVar[str] = "lengths"
    columns = (*(metric_field(METRICS[name]) for name in ("itm", "odf")), pa.field("x", pa.int32()))

    def __init__(self) -> None:
        self.preparer = Preparer(lambda image, caption: caption)
        self.scored: list[str] = []

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        self.scored += inputs
        lengths = np.array([len(caption) for caption in inputs], float)
        odf = np.where([" " in caption for caption in inputs], lengths / 2, np.nan)
        return {"itm": lengths, "odf": odf, "x": lengths}


class Pictures:
    """Images by name, one of which is broken."""

    places = ("memory",)

    def read(self, name: str) -> bytes:
        return b"no image" if name == "broken" else jpeg(40, 30)


def records(*captions: str, image: str = "a") -> list[Record]:
    return [Record(image, caption) for caption in captions]


def test_records_get_the_scores_of_the_metrics_that_have_one(tmp_path: Path) -> None:
    given = [*records("a dog", "dog", "a dog"), *records("a cat", image="broken")]
    facts = annotate_locally(given, Pictures(), "mine", Lengths(), str(tmp_path))
    assert [record.scores for record in given] == [
        {"itm": 5, "odf": 2.5}, {"itm": 3}, {"itm": 5, "odf": 2.5}, {},
    ]  # fmt: skip
    assert [record.error for record in given] == [None, None, None, "the scorer gave no score"]
    assert all(record.why == {} for record in given)
    assert facts == {"teacher": "local", "scorer": "mine", "fingerprint": {"scorer": "lengths"}}


def test_what_was_scored_before_is_not_scored_again(tmp_path: Path) -> None:
    first, second = Lengths(), Lengths()
    annotate_locally(records("a dog", "a cat"), Pictures(), "mine", first, str(tmp_path))
    again = records("a cat", "a bird")
    annotate_locally(again, Pictures(), "mine", second, str(tmp_path))
    assert (sorted(first.scored), second.scored) == (["a cat", "a dog"], ["a bird"])
    assert again[0].scores["itm"] == 5


def test_a_scorer_that_answers_no_question_cannot_teach(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="heuristics cannot teach: .* take pairsift-tiny"):
        annotate_locally(records("a"), Pictures(), "heuristics", HeuristicsScorer(), str(tmp_path))
    assert list(tmp_path.iterdir()) == []
