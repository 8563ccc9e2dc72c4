"""Scorers over judged pairs: images that are missing, scorers that are of no use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Preferences
from pairsift.evaluate.run import (
    Options,
    open_images,
    preference_results,
    score_all,
    scorer_facts,
    wanted_columns,
)
from pairsift.sources.image_store import ImageStore
from tests.samples import jpeg

PAIRS = [("0.jpg", "a dog"), ("1.jpg", "a big brown dog"), ("0.jpg", "a dog")]


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Three images; 2.jpg is broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.jpg").write_bytes(jpeg(32, 24, number))
    (folder / "2.jpg").write_bytes(b"\xff\xd8\xff broken")
    return str(folder)


def _score(images: str, options: Options, pairs: list[tuple[str, str]], out: Path) -> list[str]:
    found = score_all(pairs, ImageStore([images]), options, str(out), None)
    return [column for scores in found for column in wanted_columns(scores, options)]


def test_judgments_whose_image_is_missing_are_marked(images: str) -> None:
    options = Options(["heuristics"], [images], skip_missing=True)
    store, there = open_images(["0.jpg", "none.jpg", "1.jpg", "none.jpg"], options)
    assert there.tolist() == [True, False, True, False]
    assert store.read("0.jpg") == Path(images, "0.jpg").read_bytes()
    assert open_images(["0.jpg"], options)[1].tolist() == [True]


@pytest.mark.parametrize(
    ("judged", "skip", "words"),
    [
        (["0.jpg", "none.jpg", "none.jpg"], False, "1 of 2 judged images.*--skip-missing"),
        (["a.jpg", "b.jpg"], True, "2 of 2 judged images.*for example: .*a.jpg"),
    ],
)
def test_missing_images_stop_unless_some_are_there_and_the_others_may_be_skipped(
    images: str, judged: list[str], skip: bool, words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        open_images(judged, Options(["heuristics"], [images], skip_missing=skip))


def test_scoring_asks_for_images() -> None:
    with pytest.raises(PairsiftError, match="scoring needs --images"):
        open_images(["0.jpg"], Options(["heuristics"], []))


def test_columns_are_those_that_are_asked_for_and_hold_a_number(
    images: str, tmp_path: Path
) -> None:
    every = _score(images, Options(["heuristics"], [images]), PAIRS, tmp_path)
    assert {"caption_words", "caption_characters", "smaller_side"} <= set(every)
    asked = Options(["heuristics"], [images], columns=["caption_words", "nope"])
    assert _score(images, asked, PAIRS, tmp_path) == ["caption_words"]


@pytest.mark.parametrize(
    ("options", "pairs", "words"),
    [
        (Options(["heuristics"], [], ["nope"]), PAIRS, "no column nope; it has .*caption_words"),
        (Options(["hashes"], []), PAIRS, "hashes has no column of numbers; it has none"),
        (Options(["heuristics"], []), [("2.jpg", "x")], "none of the pairs: 1 image_corrupt"),
        (Options(["nosuch"], []), PAIRS, "no scorer 'nosuch'"),
    ],
)
def test_a_scorer_that_is_of_no_use_is_named(
    images: str, tmp_path: Path, options: Options, pairs: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        _score(images, options, pairs, tmp_path)


def test_facts_tell_pairs_failures_and_what_was_scored_now(images: str, tmp_path: Path) -> None:
    options = Options(["heuristics"], [images])
    pairs = [*PAIRS, ("2.jpg", "a cat")]
    for scored in (3, 0):  # the second time all are in the cache
        found = score_all(pairs, ImageStore([images]), options, str(tmp_path), None)
        facts = scorer_facts(found)["heuristics"]
        assert (facts["pairs"], facts["scored_now"]) == (3, scored)
        assert facts["failures"] == {"image_corrupt": 1}
        assert facts["scope"] is None
        assert facts["fingerprint"]["scorer"] == "heuristics"


def test_preferences_are_measured_for_every_column_and_slice(images: str, tmp_path: Path) -> None:
    options = Options(["heuristics"], [images], columns=["caption_words"], resamples=0)
    preferences = Preferences(
        ["0.jpg", "1.jpg"], ["a big dog", "a dog"], ["a dog", "a big dog"], np.ones(2),
        ["all"] * 2, labels={"language": ["en", "de"]},
    )  # fmt: skip
    found = score_all(preferences.pairs(), ImageStore([images]), options, str(tmp_path), None)
    (whole,), slices = preference_results(preferences, found, options, ["language"])
    assert (whole.label, whole.statistics["accuracy"].value) == ("heuristics caption_words", 0.5)
    assert {part.value: part.judgments for part in slices} == {"de": 1, "en": 1}
