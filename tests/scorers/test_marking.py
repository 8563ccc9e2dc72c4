"""Rows in languages that a scorer was not trained for are told; the others are left alone."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pairsift import Pair, PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.images import ImageLimits
from pairsift.pair import Status
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.caption_index import CaptionIndexer
from pairsift.scorers.hashes import HashMarker
from pairsift.scorers.marking import COLUMNS, ScopeMarker
from pairsift.scorers.registry import check_scorer, known_columns
from pairsift.scorers.scope import Scope
from pairsift.select import select
from pairsift.sources import find_shards
from tests.samples import jpeg, write_tar

ENGLISH = Scope(("en",), "English captions", "anything else")


def _length(image: Image.Image, caption: str) -> int:
    if caption == "refuse":
        raise ValueError("no")
    return len(caption)


class Lengths(Scorer):
    """A caption's length, by a model that reads English."""

    name: ClassVar[str] = "lengths"
    columns = (pa.field("length", pa.float32()),)
    scope = ENGLISH

    def __init__(self) -> None:
        self.preparer = Preparer(_length)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def cost(self, inputs: int) -> int:
        return inputs

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        return {"length": np.array(inputs, float)}


def test_marked_rows_keep_their_scores() -> None:
    captions = ["a dog on the grass", "两个孩子在花园里玩耍", "refuse", "", "two dogs"]
    pairs = [Pair(str(i), jpeg(), caption) for i, caption in enumerate(captions)]
    scorer = Lengths()
    marked = ScopeMarker(scorer)
    plain, table = scorer.score(pairs, 2), marked.score(pairs, 2)
    assert table.select(plain.schema.names).equals(plain)
    assert [field.name for field in marked.columns] == [
        *("length", "language", "language_score", "image_novelty", "out_of_scope")
    ]
    assert table["out_of_scope"].to_pylist() == [None, "language", None, None, None]
    assert table["language"].to_pylist() == ["en", "zh", None, None, "en"]
    scores = table["language_score"].to_pylist()
    assert scores[2:4] == [None, None]
    assert all(0 < score <= 1 for score in scores[:2])
    assert pickle.loads(pickle.dumps(marked.preparer))(pairs[1]).inputs[1].language == "zh"
    small = marked.preparer.limited(ImageLimits(max_pixels=10))
    assert small(pairs[1]).status is Status.IMAGE_TOO_LARGE
    assert marked.preparer(pairs[1]).status is Status.OK


class Drawings(Lengths):
    """Knows no image with much white; longer captions come with whiter images here."""

    scope = Scope(("en",), novelty_limit=0.5)

    def novelty(self, inputs: Sequence[Any]) -> np.ndarray:
        return np.array(inputs) / 40


def test_images_the_scorer_was_not_trained_for_are_marked() -> None:
    captions = ["a dog", "a dog that runs on the grass", "两个孩子在花园里玩耍" * 4, "refuse"]
    pairs = [Pair(str(i), jpeg(), caption) for i, caption in enumerate(captions)]
    table = ScopeMarker(Drawings()).score(pairs)
    assert table["out_of_scope"].to_pylist() == [None, "image", "language", None]
    assert table["image_novelty"].to_pylist() == pytest.approx([5 / 40, 28 / 40, 1, None])
    inside = ScopeMarker(CaptionIndexer(HashMarker(Drawings()))).score(pairs)
    for column in ("image_novelty", "out_of_scope"):
        assert inside[column].equals(table[column])
    unable = ScopeMarker(Lengths()).score(pairs)
    assert unable["image_novelty"].null_count == 4
    assert unable["out_of_scope"].to_pylist() == [None, None, "language", None]
    # Other languages do not change what images the scorer knows.
    chinese = ScopeMarker(Drawings(), ["en", "zh"])
    assert chinese.score(pairs)["out_of_scope"].to_pylist() == [None, "image", "image", None]
    assert "images of novelty up to 0.5" in chinese.fingerprint["scope"]
    scope = Drawings.scope
    assert Scope.from_json(scope.to_json()) == scope
    stored = scope.to_json()
    del stored["novelty_limit"]  # as tables of before have it
    assert Scope.from_json(stored).novelty_limit is None


def test_marking_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    captions = ["a dog on the grass", "两个孩子在花园里玩耍"]
    samples = {str(i): {"jpg": jpeg(), "txt": text} for i, text in enumerate(captions)}
    shards = find_shards([str(write_tar(tmp_path / "0.tar", samples))])
    out = str(tmp_path / "scores")
    score_shards(shards, ScopeMarker(Lengths()), out, workers=0)
    with pytest.raises(PairsiftError, match="scope is 'captions in en"):
        score_shards(shards, Lengths(), out, workers=0)
    with pytest.raises(PairsiftError, match="'captions in en,zh by lid.176"):
        score_shards(shards, ScopeMarker(Lengths(), ["en", "zh"]), out, workers=0)
    selection = select(out, where="length >= 1 and out_of_scope is null")
    assert selection.kept == 1
    assert [(drop.reason, drop.rows) for drop in selection.record.dropped] == [
        ("length >= 1", 0),
        ("out_of_scope is null", 1),
    ]


def test_who_does_not_say_must_be_told() -> None:
    silent = Lengths()
    silent.scope = None
    with pytest.raises(PairsiftError, match="'lengths' does not say.*--languages en,de"):
        ScopeMarker(silent)
    assert ScopeMarker(silent, ["de"]).scope == Scope(("de",))
    with pytest.raises(PairsiftError, match="already has columns named language, language_score"):
        load_scorer("heuristics", mark_out_of_scope=True, languages="en")


@pytest.mark.slow
def test_by_name() -> None:
    scorer = load_scorer(mark_out_of_scope=True)
    assert known_columns("pairsift-tiny", mark_out_of_scope=True, metrics="itm") == scorer.columns
    assert scorer.columns[-len(COLUMNS) :] == COLUMNS
    assert scorer.scope is not None
    assert scorer.scope.languages == ("en",)
    with pytest.raises(PairsiftError, match="--mark-out-of-scope"):
        check_scorer("pairsift-tiny", languages="en")
    with pytest.raises(PairsiftError, match="'english' is not an ISO 639 code"):
        load_scorer("heuristics", mark_out_of_scope=True, languages="english")
