"""Scorers as other tools use them: by name, loaded late, once in a process."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from pairsift import load_scorer
from pairsift.errors import PairsiftError
from pairsift.integrations.scorers import (
    BatchScorer,
    known_fields,
    lazy_scorer,
    make_pair,
    make_pairs,
    number_columns,
    outcome_columns,
    score_values,
    takes_option,
)
from pairsift.metrics import METRICS
from pairsift.pair import Status
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.scores import metric_field
from tests.samples import jpeg

IMAGE = jpeg(250, 250)


class Rated(Scorer):
    """Columns of every kind, one of which is a metric."""

    name: ClassVar[str] = "rated"
    columns = (
        metric_field(METRICS["itm"]),
        pa.field("itm_std", pa.float32()),
        pa.field("words", pa.int32()),
        pa.field("language", pa.string()),
        pa.field("passes", pa.bool_()),
    )

    def __init__(self) -> None:
        self.preparer = Preparer(lambda image, caption: len(caption))

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        return {}


def test_equal_references_share_a_scorer_and_others_do_not() -> None:
    one, same = (lazy_scorer("heuristics") for _ in range(2))
    assert one == same
    assert one.load() is same.load()
    assert pickle.loads(pickle.dumps(one)).load() is one.load()
    assert lazy_scorer("heuristics", with_hashes=True) != one
    assert len(pickle.dumps(one)) < 300


def test_options_come_in_any_order() -> None:
    assert lazy_scorer("x", a=1, b=2) == lazy_scorer("x", b=2, a=1)


def test_a_loaded_scorer_is_taken_as_it_is() -> None:
    scorer = HeuristicsScorer()
    assert lazy_scorer(scorer, device=None).load() is scorer
    with pytest.raises(PairsiftError, match="already loaded, so device cannot be changed"):
        lazy_scorer(scorer, metrics=None, device="cpu")


def test_fields_are_the_result_and_then_the_scores() -> None:
    fields = known_fields("heuristics", {})
    assert fields == outcome_columns(load_scorer("heuristics"))
    assert fields == known_fields(HeuristicsScorer(), {})
    names = [field.name for field in fields]
    assert names[:2] == ["status", "error"]
    assert not {"shard", "key", "uid"} & set(names)
    assert fields[0].type == pa.string()
    with pytest.raises(PairsiftError, match="nothing"):
        known_fields("nothing", {})
    with pytest.raises(PairsiftError, match="takes no option 'nothing'"):
        known_fields("heuristics", {"nothing": 1})


@pytest.mark.parametrize(
    ("scorer", "option", "takes"),
    [
        ("heuristics", "device", False), ("pairsift-tiny", "device", True),
        ("pairsift-tiny", "nothing", False), ("/some/folder", "device", True),
        ("/some/folder", "metrics", False),
    ],
)  # fmt: skip
def test_which_options_a_scorer_takes(scorer: str, option: str, takes: bool) -> None:
    assert takes_option(scorer, option) is takes


@pytest.mark.parametrize(
    ("image", "caption", "status"),
    [
        (IMAGE, "a dog", None),
        (None, None, None),
        (5, "a dog", Status.IMAGE_CORRUPT),
        (IMAGE, 5, Status.CAPTION_INVALID),
        (IMAGE, ["a dog"], Status.CAPTION_INVALID),
        (IMAGE, float("nan"), Status.CAPTION_INVALID),
        ("/gone", 5, Status.IMAGE_MISSING),  # the image's fault comes first
    ],
)
def test_what_cannot_be_read_is_a_fault_of_its_pair(
    image: Any, caption: Any, status: Status | None
) -> None:
    pair = make_pair(image, caption, "k")
    assert (pair.fault and pair.fault.status) == status
    assert pair.caption == (caption if isinstance(caption, str) else None)
    assert pair.key == "k"


def test_columns_of_unequal_length_are_refused() -> None:
    assert [pair.key for pair in make_pairs([IMAGE, None], ["a", "b"])] == ["0", "1"]
    with pytest.raises(ValueError, match="longer"):
        list(make_pairs([IMAGE], ["a", "b"]))


def test_lists_are_scored_in_their_order() -> None:
    table = score_values(HeuristicsScorer(), [IMAGE, b"no image", IMAGE], ["a", "a b", "a b c"], 2)
    assert table["key"].to_pylist() == ["0", "1", "2"]
    assert table["caption_words"].to_pylist() == [1, None, 3]
    assert score_values(HeuristicsScorer(), [], []).num_rows == 0


def test_numbers_to_average_are_the_metrics_where_there_are_any() -> None:
    rated, plain = Rated(), HeuristicsScorer()
    assert number_columns(rated) == ("itm",)
    assert "caption_words" in number_columns(plain)
    assert "language" not in number_columns(plain)
    assert number_columns(rated, "words") == ("words",)
    assert number_columns(rated, ["words", "itm_std"]) == ("words", "itm_std")
    assert number_columns(rated, []) == ()


@pytest.mark.parametrize("name", ["language", "passes", "nothing", ""])
def test_other_columns_cannot_be_averaged(name: str) -> None:
    with pytest.raises(PairsiftError, match=f"no column of numbers {name!r}; it has itm, itm_std"):
        number_columns(Rated(), name)


class TestBatchScorer:
    def test_a_condition_decides_and_none_lets_all_pass(self) -> None:
        pairs = list(make_pairs([IMAGE, IMAGE, b"x"], ["one", "one two three", "one two three"]))
        scorer = BatchScorer("heuristics", {}, where="caption_words >= 2")
        copy = pickle.loads(pickle.dumps(scorer))
        for each in (scorer, copy):
            table = each.score(pairs)
            assert table.schema.names == [field.name for field in each.fields]
            assert table["status"].to_pylist() == ["ok", "ok", "image_corrupt"]
            assert each.passes(table).tolist() == [False, True, False]
        everything = BatchScorer("heuristics", {})
        assert everything.passes(everything.score(pairs)).tolist() == [True] * 3

    @pytest.mark.parametrize(
        ("scorer", "where", "words"),
        [
            ("nothing", None, "nothing"),
            ("heuristics", "itm >= 3", "itm"),
            ("heuristics", "caption_words", "needed"),
        ],
    )
    def test_mistakes_are_told_before_the_first_batch(
        self, scorer: str, where: str | None, words: str
    ) -> None:
        with pytest.raises(PairsiftError, match=words):
            BatchScorer(scorer, {}, where=where)
