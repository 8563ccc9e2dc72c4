"""Captions in languages that a scorer was not trained for are found; the others are left alone."""

from __future__ import annotations

import pytest

from pairsift.languages import likely_languages
from pairsift.scorers.scope import Reason, Scope, judge_caption

ENGLISH = Scope(("en",), "English captions", "anything else")


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("两个孩子在花园里玩耍", "zh"),
        ("Две собаки бегут по пляжу", "ru"),
        ("ضفدع يجلس على ورقة خضراء", "ar"),
        ("ein brauner Hund läuft mit einem Ball am Strand", "de"),
        ("deux enfants jouent dans le jardin", "fr"),
        ("Malá dívka leze do dřevěného domku", "cs"),
    ],
)
def test_other_languages_are_out_of_scope(caption: str, language: str) -> None:
    verdict = judge_caption(caption, ENGLISH)
    assert (verdict.language, verdict.reason) == (language, Reason.LANGUAGE)
    assert 0 < verdict.score <= 1
    assert judge_caption(caption, Scope((language,))).reason is None


@pytest.mark.parametrize(
    "caption",
    [
        "A brown dog runs along the beach with a ball .",
        "A frog.",
        "dog",
        "Canon Rebel DSLR Camera",  # by its names, fastText takes it for French
        "DSC_0012.JPG",
        "2003",
        "???",
    ],
)
def test_english_and_what_is_not_sure_is_left_alone(caption: str) -> None:
    assert judge_caption(caption, ENGLISH).reason is None


def test_more_than_the_first_words_are_read() -> None:
    """The library by itself reads 80 characters."""
    text = "42 " * 30 + "Zwei Kinder spielen im Garten mit einem roten Ball und einem Hund. " * 8
    assert likely_languages(text)[0][0] == "de"
    assert likely_languages("???", 2)[0][1] < 0.3


def test_regions_belong_to_their_language() -> None:
    scope = Scope(("en", "zh"))
    assert all(map(scope.reads, ("en", "en-GB", "zh_TW", "ZH")))
    assert not scope.reads("de")
    assert Scope.from_json(scope.to_json()) == scope
